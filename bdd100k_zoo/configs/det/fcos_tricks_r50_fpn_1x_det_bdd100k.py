"""FCOS with the tricks of its authors, R-50-FPN: 12 epochs at one scale."""

_base_ = ["mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py", "./_base_/bdd100k.py"]

# The base has the mean of ResNets in RGB, in reverse; the published model has that of the other FCOS.
# min_bbox_size: the published models keep boxes without width or height; mmdet 3 drops them at 0.
model = dict(
    data_preprocessor=dict(mean=[102.9801, 115.9465, 122.7717]),
    bbox_head=dict(num_classes=10),
    test_cfg=dict(min_bbox_size=-1),
)

train_dataloader = _base_.bdd100k_train
# The base's optimizer is the published one: rate 0.01, doubled and without decay for biases, no clipping; and so is
# its warm-up, which is linear.
auto_scale_lr = dict(base_batch_size=32)

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = _base_.bdd100k_test
test_evaluator = _base_.bdd100k_no_metrics
