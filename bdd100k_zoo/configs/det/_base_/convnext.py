"""What the configs with a ConvNeXt share: the backbone in three sizes, optimizer and schedules.

A config takes what it needs as ``_base_.convnext_…``, beside what ``bdd100k.py`` offers.
"""

_base_ = ["./bdd100k.py"]

custom_imports = dict(imports=[*_base_.custom_imports.imports, "bdd100k_zoo.backends.mmdet3.convnext"])

convnext_files = "https://download.openmmlab.com/mmclassification/v0/convnext/"

# The names of the classifiers' parameters begin with the prefix. Drop path is a setting of each config.
convnext_t = dict(
    _delete_=True,
    type="ConvNeXt",
    arch="tiny",
    drop_path_rate=0.4,
    layer_scale_init_value=1.0,
    init_cfg=dict(
        type="Pretrained",
        prefix="backbone.",
        checkpoint=convnext_files + "downstream/convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth",
    ),
)
convnext_s = dict(
    convnext_t,
    arch="small",
    init_cfg=dict(
        type="Pretrained",
        prefix="backbone.",
        checkpoint=convnext_files + "downstream/convnext-small_3rdparty_32xb128-noema_in1k_20220301-303e75e3.pth",
    ),
)
convnext_b = dict(
    convnext_t,
    arch="base",
    init_cfg=dict(
        type="Pretrained",
        prefix="backbone.",
        checkpoint=convnext_files + "downstream/convnext-base_3rdparty_32xb128-noema_in1k_20220301-2a0ee547.pth",
    ),
)
# Pretrained on the 22,000 classes of the whole ImageNet, then trained on its 1,000.
convnext_b_22k = dict(
    convnext_b,
    init_cfg=dict(
        type="Pretrained",
        prefix="backbone.",
        checkpoint=convnext_files + "convnext-base_in21k-pre-3rdparty_32xb128_in1k_20220124-eb2d6ada.pth",
    ),
)
convnext_channels = [96, 192, 384, 768]
convnext_b_channels = [128, 256, 512, 1024]

# The rate of each layer is 0.95 times that of the next one; the neck and the heads have the full rate.
convnext_t_adamw_fp16 = dict(
    type="AmpOptimWrapper",
    loss_scale=dict(init_scale=512.0),
    constructor="LearningRateDecayOptimizerConstructor",
    paramwise_cfg=dict(decay_rate=0.95, decay_type="layer_wise", num_layers=6),
    optimizer=dict(_delete_=True, type="AdamW", lr=0.0001, betas=(0.9, 0.999), weight_decay=0.05),
)
# S and B have 27 blocks in their third stage, T has 9; three of them have one rate.
convnext_adamw_fp16 = dict(
    convnext_t_adamw_fp16, paramwise_cfg=dict(decay_rate=0.95, decay_type="layer_wise", num_layers=12)
)

convnext_schedule_1x = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[9, 11], gamma=0.1),
]
convnext_schedule_3x = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=36, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
