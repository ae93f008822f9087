"""RetinaNet, PVTv2-B0: 36 epochs at several scales."""

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

train_dataloader = dict(_base_.bdd100k_train_multi_scale, batch_size=2)
train_cfg = dict(max_epochs=36)
param_scheduler = [_base_.param_scheduler[0], _base_.bdd100k_steps_3x]
# The base's optimizer is the published one: AdamW at 1e-4, weight decay 1e-4, no clipping.
auto_scale_lr = dict(base_batch_size=16)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
