"""Check that two backends find the same boxes with the same weights and images, each in its own environment."""
