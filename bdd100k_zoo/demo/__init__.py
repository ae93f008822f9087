"""Synthetic road scenes, for trying everything where the dataset is not at hand."""
