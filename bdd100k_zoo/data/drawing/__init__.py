"""Boxes drawn into images, with Pillow alone."""
