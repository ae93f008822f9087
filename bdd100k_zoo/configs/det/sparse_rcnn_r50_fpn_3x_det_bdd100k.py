"""Sparse R-CNN, R-50-FPN: 36 epochs at several scales."""

_base_ = ["mmdet::sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py", "./_base_/bdd100k.py"]

model = dict(roi_head=dict(bbox_head=[dict(head, num_classes=10) for head in _base_.model.roi_head.bbox_head]))

train_dataloader = _base_.bdd100k_train_multi_scale
train_cfg = dict(max_epochs=36)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.bdd100k_steps_3x, milestones=[27, 33])]
# The base's optimizer is the published one: AdamW at 2.5e-5, weight decay 1e-4, clipping at 1.
auto_scale_lr = dict(base_batch_size=32)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
