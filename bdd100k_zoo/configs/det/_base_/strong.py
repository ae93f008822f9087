"""Strong augmentation: mosaics of four frames, mixed with a fifth, at random sizes; the last nine epochs without it.

A config takes what it needs as ``_base_.strong_…``, beside what ``bdd100k.py`` offers.
"""

_base_ = ["./bdd100k.py"]

strong_train = dict(
    _base_.bdd100k_train,
    batch_size=2,
    dataset=dict(
        type="MultiImageMixDataset",
        dataset=dict(
            _base_.bdd100k_train.dataset,
            pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)],
        ),
        pipeline=[
            dict(type="Mosaic", img_scale=(1280, 720), pad_val=114.0),
            dict(type="MixUp", img_scale=(1280, 720), pad_val=114.0),
            dict(type="RandomFlip", prob=0.5),
            dict(
                type="RandomResize",
                scale=(1280, 720),
                ratio_range=(0.5, 1.5),
                resize_type="mmdet.Resize",
                keep_ratio=True,
            ),
            dict(type="RandomCrop", crop_size=(720, 1280), allow_negative_crop=True),
            dict(type="PhotoMetricDistortion"),
            dict(type="PackDetInputs"),
        ],
    ),
)

# The published configs name a hook of this name that was never published; what it does here is described in the docs.
strong_hooks = [
    dict(
        type="ModeSwitchHook",
        begin=27,
        pipeline=[
            dict(type="Resize", scale=(1280, 720), keep_ratio=True),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ],
    )
]
