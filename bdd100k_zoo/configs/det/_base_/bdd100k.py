"""What the configs share: the data of BDD100K, and the ends of the 3x and 5x schedules.

A config takes what it needs as ``_base_.bdd100k_…``; ``load_config`` drops these helpers from what it returns.
A frame of BDD100K is 1280x720 pixels: the single scale of training, like that of inference, leaves it as it is.
"""

custom_imports = dict(
    imports=["bdd100k_zoo.training.dataset", "bdd100k_zoo.training.mode_switch"], allow_failed_imports=False
)

bdd100k_train = dict(
    _delete_=True,
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="BDD100KDataset",
        data_root="data/bdd100k/",
        ann_file="labels/det_20/det_train.json",
        data_prefix=dict(img="images/100k/train"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="Resize", scale=(1280, 720), keep_ratio=True),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ],
    ),
)

# The heights are the published ones. mmcv picks the scale and must be told to resize the boxes as mmdet does.
bdd100k_train_multi_scale = dict(
    bdd100k_train,
    dataset=dict(
        bdd100k_train["dataset"],
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(
                type="RandomChoiceResize",
                scales=[(1280, 600), (1280, 624), (1280, 648), (1280, 672), (1280, 696), (1280, 720)],
                resize_type="mmdet.Resize",
                keep_ratio=True,
            ),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ],
    ),
)

bdd100k_test = dict(
    _delete_=True,
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BDD100KDataset",
        data_root="data/bdd100k/",
        ann_file="labels/det_20/det_val.json",
        data_prefix=dict(img="images/100k/val"),
        test_mode=True,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(1280, 720), keep_ratio=True),
            dict(
                type="PackDetInputs",
                meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
            ),
        ],
    ),
)

# mmdet's metrics want COCO annotations; the scores of BDD100K come from this package's own evaluation.
# mmengine takes a test dataloader only with an evaluator, and one without metrics is enough.
bdd100k_no_metrics = []

# They follow the base's warm-up.
bdd100k_steps_3x = dict(type="MultiStepLR", begin=0, end=36, by_epoch=True, milestones=[24, 33], gamma=0.1)
bdd100k_steps_5x = dict(type="MultiStepLR", begin=0, end=60, by_epoch=True, milestones=[48, 55], gamma=0.1)
