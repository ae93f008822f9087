"""What both backends share: configs in mmengine's style, checkpoints, devices, precisions. No mmdet of any version.

Importing this package imports neither torch nor mmengine.
"""
