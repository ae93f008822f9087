"""The demo: its steps, and the frames, labels and weights that the package ships for it."""
