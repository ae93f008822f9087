"""Synthetic road scenes with labels, for training and testing where the dataset is not available."""
