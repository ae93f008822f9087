"""Faster R-CNN, R-50-FPN of "ResNet strikes back": 12 epochs at one scale."""

_base_ = ["mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "./_base_/bdd100k.py", "./_base_/resnet_strikes_back.py"]

model = dict(backbone=dict(init_cfg=_base_.rsb_init), roi_head=dict(bbox_head=dict(num_classes=10)))

train_dataloader = _base_.bdd100k_train
optim_wrapper = _base_.rsb_adamw
auto_scale_lr = dict(base_batch_size=32)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
