"""Faster R-CNN, HRNetV2p-w32: 36 epochs at several scales."""

_base_ = ["mmdet::hrnet/faster-rcnn_hrnetv2p-w32-1x_coco.py", "./_base_/bdd100k.py"]

model = dict(roi_head=dict(bbox_head=dict(num_classes=10)))

train_dataloader = dict(_base_.bdd100k_train_multi_scale, batch_size=2)
train_cfg = dict(max_epochs=36)
param_scheduler = [_base_.param_scheduler[0], _base_.bdd100k_steps_3x]
optim_wrapper = dict(optimizer=dict(lr=0.02))
auto_scale_lr = dict(base_batch_size=16)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
