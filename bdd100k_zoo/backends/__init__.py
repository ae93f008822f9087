"""The stacks that run the models: mmdet 3.3 (``mmdet3``), and mmdet 2.28 with a compiled mmcv-full (``mmdet2``)."""
