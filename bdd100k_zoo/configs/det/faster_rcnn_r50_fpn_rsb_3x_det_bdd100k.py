"""Faster R-CNN, R-50-FPN of "ResNet strikes back": 36 epochs at several scales."""

_base_ = ["mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "./_base_/bdd100k.py", "./_base_/resnet_strikes_back.py"]

model = dict(backbone=dict(init_cfg=_base_.rsb_init), roi_head=dict(bbox_head=dict(num_classes=10)))

train_dataloader = _base_.bdd100k_train_multi_scale
train_cfg = dict(max_epochs=36)
param_scheduler = [_base_.param_scheduler[0], _base_.bdd100k_steps_3x]
optim_wrapper = _base_.rsb_adamw
auto_scale_lr = dict(base_batch_size=32)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
