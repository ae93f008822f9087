"""Faster R-CNN, R-50-FPN: 60 epochs at several scales."""

_base_ = ["mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "./_base_/bdd100k.py"]

model = dict(roi_head=dict(bbox_head=dict(num_classes=10)))

train_dataloader = _base_.bdd100k_train_multi_scale
train_cfg = dict(max_epochs=60)
param_scheduler = [_base_.param_scheduler[0], _base_.bdd100k_steps_5x]
optim_wrapper = dict(optimizer=dict(lr=0.04))
auto_scale_lr = dict(base_batch_size=32)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
