"""The hook ``ModeSwitchHook``: training images without strong augmentation in the last epochs."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class ModeSwitchHook(Hook):  # type: ignore[misc]
    """Replaces the transforms of training images from an epoch on.

    The publishers' configs of the models with strong augmentation name a hook that they never published, with nine last
    epochs and a single scale. This one does what these words say: the mosaics and mixtures end, and frames are resized
    and flipped as in the recipes with one scale. Which transforms an image gets depends on its epoch alone, so that a
    resumed training gets the same images.
    """

    def __init__(self, begin: int, pipeline: list[dict[str, Any]]) -> None:
        """Keep the settings.

        Args:
            begin: the first epoch with the other transforms, from 0; it moves with ``--epochs``, as schedules do.
            pipeline: the transforms, in place of those of the outermost dataset.
        """
        self._begin, self._pipeline = begin, pipeline

    def before_train(self, runner: Any) -> None:
        """Set the switch in the dataset, before processes that read images copy it."""
        runner.train_dataloader.dataset.switch_pipeline(self._begin, self._pipeline)
