"""What both backends are made of: torch, configs in mmengine's style, files of weights. No mmdet of any generation.

Importing this package imports none of them.
"""
