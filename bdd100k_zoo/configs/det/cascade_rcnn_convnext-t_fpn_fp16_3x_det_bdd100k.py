"""Cascade R-CNN, ConvNeXt-T-FPN, fp16: 36 epochs at several scales."""

_base_ = ["mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py", "./_base_/convnext.py"]

model = dict(
    backbone=_base_.convnext_t,
    neck=dict(in_channels=_base_.convnext_channels),
    roi_head=dict(bbox_head=[dict(head, num_classes=10) for head in _base_.model.roi_head.bbox_head]),
)

train_dataloader = _base_.bdd100k_train_multi_scale
train_cfg = dict(max_epochs=36)
param_scheduler = _base_.convnext_schedule_3x
optim_wrapper = _base_.convnext_t_adamw_fp16
auto_scale_lr = dict(base_batch_size=32)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
