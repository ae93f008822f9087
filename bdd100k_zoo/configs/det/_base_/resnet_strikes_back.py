"""What the configs with the ResNet-50 of "ResNet strikes back" share: its start values and the optimizer."""

rsb_init = dict(
    type="Pretrained",
    prefix="backbone.",
    checkpoint="https://download.openmmlab.com/mmclassification/v0/resnet/"
    "resnet50_8xb256-rsb-a1-600e_in1k_20211228-20e21305.pth",
)

# The normalisations that are trained have no decay. The rate is that of Faster R-CNN.
rsb_adamw = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=0.0002, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bypass_duplicate=True),
)
