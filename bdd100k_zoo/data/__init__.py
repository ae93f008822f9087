"""Files of labels, predictions, images and videos, and the typed records that they are read into."""
