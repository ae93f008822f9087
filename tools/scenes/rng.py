"""Random numbers that a seed determines on every machine.

numpy keeps the raw bits of a bit generator stable over its versions, but not what ``Generator`` makes of them; and
libraries differ in the last bit of ``sin`` or ``pow``. So everything here, and everything that decides on a pixel, uses
raw bits and the operations that IEEE 754 rounds exactly: ``+ - * /`` and square roots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind = TypeVar("Kind")
STOCK = 1024
"""Numbers that are generated at once."""


class Rng:
    """A stream of random choices, determined by its seed."""

    def __init__(self, seed: int | Sequence[int]) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))
        self._stock: list[float] = []

    def uniform(self) -> float:
        """Return a number in [0, 1)."""
        if not self._stock:
            self._stock = self.uniforms(STOCK).tolist()
        return self._stock.pop()

    def uniforms(self, count: int) -> npt.NDArray[np.float64]:
        """Return ``count`` numbers in [0, 1)."""
        raw = np.asarray(self._bits.random_raw(count), np.uint64)
        return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def integers(self, below: int, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Return an array of integers from 0 to ``below`` - 1."""
        count = 1
        for length in shape:
            count *= length
        return (self.uniforms(count) * below).astype(np.int64).reshape(shape)

    def between(self, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``."""
        return low + (high - low) * self.uniform()

    def integer(self, low: int, high: int) -> int:
        """Return an integer from ``low`` to ``high``, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.uniform() < probability

    def choice(self, choices: Sequence[Kind]) -> Kind:
        """Return one of several values with equal probability."""
        return choices[int(self.uniform() * len(choices))]

    def weighted(self, weights: Mapping[Kind, float]) -> Kind:
        """Return one of several values by their weights."""
        left = self.uniform() * sum(weights.values())
        for choice, weight in weights.items():
            left -= weight
            if left < 0:
                return choice
        return next(reversed(list(weights)))
