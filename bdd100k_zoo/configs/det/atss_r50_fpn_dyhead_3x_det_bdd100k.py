"""ATSS with DyHead, R-50-FPN: 36 epochs at several scales."""

_base_ = ["mmdet::dyhead/atss_r50_fpn_dyhead_1x_coco.py", "./_base_/bdd100k.py"]

# min_bbox_size: the published models keep boxes without width or height; mmdet 3 drops them at 0.
model = dict(bbox_head=dict(num_classes=10), test_cfg=dict(min_bbox_size=-1))

train_dataloader = _base_.bdd100k_train_multi_scale
train_cfg = dict(max_epochs=36)
param_scheduler = [_base_.param_scheduler[0], _base_.bdd100k_steps_3x]
optim_wrapper = dict(optimizer=dict(lr=0.02))
auto_scale_lr = dict(base_batch_size=32)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
