"""FCOS, narrow R-18-FPN, on small frames: the demo's detector, trained from scratch on synthetic scenes."""

_base_ = ["mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", "./_base_/bdd100k.py"]

EPOCHS = 5
SIZE = (640, 360)
# Objects that learning saw small are found more often in larger frames: AP 35 in place of 31.
TEST_SIZE = (960, 540)

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        depth=18,
        base_channels=24,
        stem_channels=24,
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        style="pytorch",
        init_cfg=None,
    ),
    neck=dict(in_channels=[24, 48, 96, 192], out_channels=64),
    bbox_head=dict(
        num_classes=10,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        norm_cfg=dict(type="GN", num_groups=8, requires_grad=True),
        # Half of FCOS's own, as the frames are.
        regress_ranges=((-1, 32), (32, 64), (64, 128), (128, 256), (256, 1e8)),
        center_sampling=True,
        norm_on_bbox=True,
        centerness_on_reg=True,
        loss_bbox=dict(type="GIoULoss", loss_weight=1.0),
    ),
    test_cfg=dict(min_bbox_size=-1, score_thr=0.02, nms=dict(type="nms", iou_threshold=0.6)),
)

train_dataloader = dict(
    _base_.bdd100k_train,
    # Many small steps: what an hour of two cores suffices for is too little for larger ones.
    batch_size=2,
    dataset=dict(
        _base_.bdd100k_train.dataset,
        pipeline=[
            dict(each, scale=SIZE) if "scale" in each else each for each in _base_.bdd100k_train.dataset.pipeline
        ],
    ),
)

train_cfg = dict(max_epochs=EPOCHS)
optim_wrapper = dict(
    _delete_=True,
    optimizer=dict(type="AdamW", lr=1.25e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=500),
    dict(type="CosineAnnealingLR", T_max=EPOCHS, begin=0, end=EPOCHS, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=2)
custom_hooks = [
    dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.002, gamma=500, update_buffers=True, priority=49)
]

val_dataloader = val_cfg = val_evaluator = None
test_dataloader = dict(
    _base_.bdd100k_test,
    dataset=dict(
        _base_.bdd100k_test.dataset,
        pipeline=[
            dict(each, scale=TEST_SIZE) if "scale" in each else each for each in _base_.bdd100k_test.dataset.pipeline
        ],
    ),
)
test_evaluator = _base_.bdd100k_no_metrics
