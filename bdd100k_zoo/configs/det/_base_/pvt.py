"""What the configs of RetinaNet with PVT and PVTv2 share: the models with their start values, and batches of two.

A config takes what it needs as ``_base_.pvt_…``, beside what ``bdd100k.py`` offers. Optimizer and warm-up are those of
mmdet's bases, which equal the published ones: AdamW at 1e-4, weight decay 1e-4, no clipping.
"""

_base_ = ["./bdd100k.py"]

pvt_files = "https://github.com/whai362/PVT/releases/download/v2/"

# min_bbox_size: the published models keep boxes without width or height; mmdet 3 drops them at 0.
pvt_t = dict(
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint=pvt_files + "pvt_tiny.pth")),
    bbox_head=dict(num_classes=10),
    test_cfg=dict(min_bbox_size=-1),
)
pvt_s = dict(pvt_t, backbone=dict(init_cfg=dict(type="Pretrained", checkpoint=pvt_files + "pvt_small.pth")))
pvt_v2_b0 = dict(pvt_t, backbone=dict(init_cfg=dict(type="Pretrained", checkpoint=pvt_files + "pvt_v2_b0.pth")))
pvt_v2_b1 = dict(pvt_t, backbone=dict(init_cfg=dict(type="Pretrained", checkpoint=pvt_files + "pvt_v2_b1.pth")))
pvt_v2_b2 = dict(pvt_t, backbone=dict(init_cfg=dict(type="Pretrained", checkpoint=pvt_files + "pvt_v2_b2.pth")))

pvt_train = dict(_base_.bdd100k_train, batch_size=2)
pvt_train_multi_scale = dict(_base_.bdd100k_train_multi_scale, batch_size=2)
