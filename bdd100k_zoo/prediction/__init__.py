"""Images → boxes: what is the same for every backend."""
