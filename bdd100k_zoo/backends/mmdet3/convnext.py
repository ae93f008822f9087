"""The backbone ConvNeXt (Liu et al., "A ConvNet for the 2020s", arXiv:2201.03545), which mmdet 3.3 lacks.

Names of parameters and results are those of mmcls 0.25.0, with which the published weights were trained. Importing this
module registers the backbone in mmdet as ``ConvNeXt``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from mmcv.cnn.bricks import DropPath
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from bdd100k_zoo.backends.common.convnext_sizes import SIZES, Size
from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EPS = 1e-6
"""What normalisations add to the variance: those of the stem, of blocks and of outputs."""
DOWNSAMPLING_EPS = 1e-5
"""The same between two stages. The authors' code has 1e-6 there as well, but mmcls has torch's default."""


@MODELS.register_module()
class ConvNeXt(BaseModule):  # type: ignore[misc]
    """A ConvNeXt with one output per stage, each with a normalisation of its own."""

    def __init__(
        self,
        arch: str | Mapping[str, Sequence[int]] = "tiny",
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1.0,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        """Build the network with random values.

        Args:
            arch: ``tiny``, ``small`` or ``base``; or the ``depths`` (blocks) and ``channels`` of four stages.
            drop_path_rate: the probability with which training skips the last block. It grows linearly from 0 at the
                first one (Huang et al., arXiv:1603.09382).
            layer_scale_init_value: the first value of the factor of each channel by which a block's result is added.
            init_cfg: the values to start from, as mmengine's modules take them.

        Raises:
            ConfigError: ``arch`` is none of these.
        """
        super().__init__(init_cfg=init_cfg)
        depths, channels = _read_size(arch)
        rates = iter(drop_path_rate * block / max(sum(depths) - 1, 1) for block in range(sum(depths)))
        self.downsample_layers, self.stages = nn.ModuleList(), nn.ModuleList()
        for stage, (depth, width) in enumerate(zip(depths, channels, strict=True)):
            if stage == 0:
                reduce = [nn.Conv2d(3, width, 4, stride=4), ChannelNorm(width, eps=EPS)]
            else:
                before = channels[stage - 1]
                reduce = [ChannelNorm(before, eps=DOWNSAMPLING_EPS), nn.Conv2d(before, width, 2, stride=2)]
            self.downsample_layers.append(nn.Sequential(*reduce))
            blocks = (Block(width, next(rates), layer_scale_init_value) for _ in range(depth))
            self.stages.append(nn.Sequential(*blocks))
            self.add_module(f"norm{stage}", ChannelNorm(width, eps=EPS))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute features [n, channels of the stage, h / s, w / s], with s of 4, 8, 16 and 32, of images [n, 3, h, w].

        Sizes that are no multiples of 32 are rounded down at each stage.
        """
        features, outputs = images, []
        for stage, (reduce, blocks) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            features = blocks(reduce(features))
            outputs.append(getattr(self, f"norm{stage}")(features))
        return tuple(outputs)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of the channels of features [n, c, h, w] at each place, in the memory format of its input."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the normalised features."""
        normalised = super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        last = features.is_contiguous(memory_format=torch.channels_last)
        # The transposed view alone would make all that follows channels last, in which a GPU may be slower in float32.
        return normalised.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


class Block(nn.Module):
    """A residual block: a depthwise convolution of 7x7, then two linear layers at each place."""

    def __init__(self, channels: int, drop_path: float, layer_scale: float) -> None:
        super().__init__()
        self.depthwise_conv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.pointwise_conv1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.pointwise_conv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, features: Tensor) -> Tensor:
        """Return features [n, c, h, w] of the same shape."""
        places = self.norm(self.depthwise_conv(features).permute(0, 2, 3, 1))
        places = self.pointwise_conv2(self.act(self.pointwise_conv1(places))) * self.gamma
        residual: Tensor = self.drop_path(places.permute(0, 3, 1, 2))
        return features + residual


def _read_size(arch: object) -> Size:
    if isinstance(arch, str) and arch in SIZES:
        return SIZES[arch]
    if isinstance(arch, dict) and arch.keys() == {"depths", "channels"}:
        size = Size(tuple(arch["depths"]), tuple(arch["channels"]))
        if len(size.depths) == len(size.channels) == 4:
            return size
    wanted = f"{', '.join(SIZES)} or a dict of four depths and four channels"
    raise ConfigError("model.backbone of ConvNeXt", f"arch: expected {wanted}, found {arch!r}")
