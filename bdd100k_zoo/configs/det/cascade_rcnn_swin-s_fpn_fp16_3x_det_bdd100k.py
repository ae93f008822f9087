"""Cascade R-CNN, Swin-S-FPN, fp16: 36 epochs at several scales."""

_base_ = ["mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py", "./_base_/bdd100k.py", "./_base_/swin.py"]

model = dict(
    backbone=_base_.swin_s,
    neck=dict(in_channels=_base_.swin_channels),
    roi_head=dict(bbox_head=[dict(head, num_classes=10) for head in _base_.model.roi_head.bbox_head]),
)

train_dataloader = dict(_base_.bdd100k_train_multi_scale, batch_size=2)
train_cfg = dict(max_epochs=36)
param_scheduler = _base_.swin_schedule_3x
# The published config lacks the setting of fp16 that its name promises.
optim_wrapper = _base_.swin_adamw_fp16
auto_scale_lr = dict(base_batch_size=16)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
