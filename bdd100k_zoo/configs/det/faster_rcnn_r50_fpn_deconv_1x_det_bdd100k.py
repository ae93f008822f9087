"""Faster R-CNN, deformable convolutions (version 1) in c3-c5, R-50-FPN: 12 epochs at one scale."""

_base_ = ["mmdet::dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py", "./_base_/bdd100k.py"]

model = dict(roi_head=dict(bbox_head=dict(num_classes=10)))

train_dataloader = _base_.bdd100k_train
optim_wrapper = dict(optimizer=dict(lr=0.04))
auto_scale_lr = dict(base_batch_size=32)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
