"""RetinaNet, PVTv2-B0: 12 epochs at one scale."""

_base_ = ["mmdet::pvt/retinanet_pvtv2-b0_fpn_1x_coco.py", "./_base_/pvt.py"]

model = _base_.pvt_v2_b0

train_dataloader = _base_.pvt_train
auto_scale_lr = dict(base_batch_size=16)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
