from __future__ import annotations

import io
import subprocess
import sys

import pytest
from PIL import Image

from bdd100k_zoo.reporting.plots import AP_COLOUR, LOSS_COLOUR, draw_learning_curve
from bdd100k_zoo.training.record import EpochRecord, StepLine


def steps(number: int) -> list[StepLine]:
    return [StepLine(step=step, epoch=1, rate=0.1, loss=2 / step) for step in range(1, number + 1)]


def epoch(number: int, ap: float | None) -> EpochRecord:
    return EpochRecord(epoch=number, loss=1.0, rate=0.1, seconds=1.0, ap=ap)


@pytest.mark.parametrize("number", [0, 1, 7, 2500])
@pytest.mark.parametrize("epochs", [[], [epoch(1, None)], [epoch(1, 20.0), epoch(2, 30.0)]])
def test_a_curve_is_a_picture(number: int, epochs: list[EpochRecord]) -> None:
    image = Image.open(io.BytesIO(draw_learning_curve("model", steps(number), epochs, 10)))
    assert (image.format, image.size) == ("PNG", (960, 540))


def test_losses_and_aps_leave_their_colours_on_it() -> None:
    image = Image.open(
        io.BytesIO(draw_learning_curve("model", steps(200), [epoch(1, 20.0), epoch(2, 30.0)], 10))
    ).convert("RGB")
    colours = {colour for _, colour in image.getcolors(1 << 20) or ()}
    assert {tuple(bytes.fromhex(colour[1:])) for colour in (AP_COLOUR, LOSS_COLOUR)} <= colours


def test_without_matplotlib_that_is_an_error_that_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from bdd100k_zoo.errors import MissingPackageError\n"
        "from bdd100k_zoo.reporting.plots import draw_learning_curve\n"
        "try: draw_learning_curve('m', [], [], 1)\n"
        "except MissingPackageError as error: print(error.package, error.extra)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["matplotlib", "report"]
