"""What the configs with a Swin Transformer share: the backbone in three sizes, optimizer and schedules.

A config takes what it needs as ``_base_.swin_…``; ``load_config`` drops these helpers from what it returns.
"""

swin_files = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"

# convert_weights: the start values have the parameter names of the authors' own code.
swin_t = dict(
    _delete_=True,
    type="SwinTransformer",
    embed_dims=96,
    depths=[2, 2, 6, 2],
    num_heads=[3, 6, 12, 24],
    window_size=7,
    mlp_ratio=4,
    qkv_bias=True,
    qk_scale=None,
    drop_rate=0.0,
    attn_drop_rate=0.0,
    drop_path_rate=0.2,
    patch_norm=True,
    out_indices=(0, 1, 2, 3),
    with_cp=False,
    convert_weights=True,
    init_cfg=dict(type="Pretrained", checkpoint=swin_files + "swin_tiny_patch4_window7_224.pth"),
)
swin_s = dict(
    swin_t,
    depths=[2, 2, 18, 2],
    init_cfg=dict(type="Pretrained", checkpoint=swin_files + "swin_small_patch4_window7_224.pth"),
)
swin_b = dict(
    swin_s,
    embed_dims=128,
    num_heads=[4, 8, 16, 32],
    init_cfg=dict(type="Pretrained", checkpoint=swin_files + "swin_base_patch4_window7_224.pth"),
)
# Pretrained on the 22,000 classes of the whole ImageNet.
swin_b_22k = dict(
    swin_b,
    init_cfg=dict(type="Pretrained", checkpoint=swin_files + "swin_base_patch4_window7_224_22k.pth"),
)
swin_channels = [96, 192, 384, 768]
swin_b_channels = [128, 256, 512, 1024]

swin_adamw = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=0.0001, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            "absolute_pos_embed": dict(decay_mult=0.0),
            "relative_position_bias_table": dict(decay_mult=0.0),
            "norm": dict(decay_mult=0.0),
        }
    ),
)
swin_adamw_fp16 = dict(swin_adamw, type="AmpOptimWrapper", loss_scale=dict(init_scale=512.0))

swin_schedule_1x = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[9, 11], gamma=0.1),
]
swin_schedule_3x = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=36, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
