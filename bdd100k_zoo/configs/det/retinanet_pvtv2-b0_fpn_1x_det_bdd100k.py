"""RetinaNet, PVTv2-B0: 12 epochs at one scale."""

_base_ = ["mmdet::pvt/retinanet_pvtv2-b0_fpn_1x_coco.py", "./_base_/bdd100k.py"]

# min_bbox_size: the published models keep boxes without width or height; mmdet 3 drops them at 0.
model = dict(
    backbone=dict(
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/whai362/PVT/releases/download/v2/pvt_v2_b0.pth",
        )
    ),
    bbox_head=dict(num_classes=10),
    test_cfg=dict(min_bbox_size=-1),
)

train_dataloader = dict(_base_.bdd100k_train, batch_size=2)
# The base's optimizer is the published one: AdamW at 1e-4, weight decay 1e-4, no clipping.
auto_scale_lr = dict(base_batch_size=16)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
