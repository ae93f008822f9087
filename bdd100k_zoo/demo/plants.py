"""Trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.demo.prisms import shade
from bdd100k_zoo.demo.solids import Colour, Solid, Style

if TYPE_CHECKING:
    from bdd100k_zoo.demo.dice import Dice

LEAVES: tuple[Colour, ...] = ((66, 100, 48), (84, 116, 54), (58, 84, 52), (104, 120, 58), (150, 112, 50), (46, 74, 44))
BARK = Style((78, 62, 50))


def tree(dice: Dice, *, bare: bool, twigs: int) -> Solid:
    """Build a tree, or a bare one, of so many tufts or branches."""
    solid = Solid()
    trunk, wide = dice.between(2.2, 3.2), dice.between(1.4, 2.5)
    solid.limb((0.0, 0.0, 0.0), (dice.between(-0.2, 0.2), trunk + 0.8, 0.0), dice.between(0.1, 0.2), BARK)
    high = wide * dice.between(0.9, 1.4)
    if bare:
        _branches(solid, dice, trunk, (wide, high), twigs)
    else:
        _crown(solid, dice, trunk, (wide, high), twigs)
    return solid


def _branches(solid: Solid, dice: Dice, trunk: float, size: tuple[float, float], twigs: int) -> None:
    wide, high = size
    for _ in range(twigs):
        start = dice.between(0.6, 1.0) * trunk
        tip = (dice.between(-1.0, 1.0) * wide, trunk + dice.between(0.3, 1.6) * high, 0.0)
        solid.limb((0.0, start, 0.0), tip, dice.between(0.03, 0.06), BARK)


def _crown(solid: Solid, dice: Dice, trunk: float, size: tuple[float, float], twigs: int) -> None:
    wide, high = size
    leaves = dice.pick(LEAVES)
    for index in range(twigs):
        up = index / (twigs - 1)
        room = 1.0 - (up - 0.4) * (up - 0.4) * 1.7
        x = dice.between(-1.0, 1.0) * wide * room * 0.8
        y = trunk + high * (0.1 + 1.5 * up) * dice.between(0.8, 1.1)
        tone = (0.62 + 0.5 * up) * dice.between(0.85, 1.15)
        solid.ball(
            (x, y, 0.0), wide * dice.between(0.25, 0.5) * (1.0 if twigs < 40 else 0.7), Style(shade(leaves, tone))
        )
