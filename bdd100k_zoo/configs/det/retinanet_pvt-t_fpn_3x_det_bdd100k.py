"""RetinaNet, PVT-T: 36 epochs at several scales."""

_base_ = ["mmdet::pvt/retinanet_pvt-t_fpn_1x_coco.py", "./_base_/pvt.py"]

model = _base_.pvt_t

train_dataloader = _base_.pvt_train_multi_scale
train_cfg = dict(max_epochs=36)
param_scheduler = [_base_.param_scheduler[0], _base_.bdd100k_steps_3x]
auto_scale_lr = dict(base_batch_size=16)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
