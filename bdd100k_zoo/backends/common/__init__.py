"""The parts that both backends share, without mmdet. Importing this package imports neither torch nor mmengine."""
