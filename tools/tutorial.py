"""Execute docs/tutorial.ipynb, and compare its outputs with those that the file holds.

    python -m tools.tutorial            # write the outputs into the file
    python -m tools.tutorial --check    # fail if they are not what the code gives now

needs nbclient and ipykernel. The notebook uses the demo's detector and frames, and no network.
"""

from __future__ import annotations

import base64
import io
import math
import os
import re
import sys
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from bdd100k_zoo.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
TIMEOUT = 300
"""Seconds for a cell: many times what the slowest takes."""
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 0.05, 0.02
"""Of numbers in outputs: other processors round otherwise, which moves scores a little."""
PIXEL_TOLERANCE = 3
"""Mean difference of two pictures, in levels of 255. Boxes in other places or colours differ by more."""

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?![\w])")
_ADDRESS = re.compile(r"0x[0-9A-Fa-f]+")


def execute(notebook: Any, folder: Path) -> Any:
    """Return an executed copy of a notebook, without what differs from one execution to the next.

    Args:
        notebook: of nbformat.
        folder: where it runs; it is the kernel's working folder, and holds its cache.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    executed = nbformat.from_dict(notebook)
    client = NotebookClient(executed, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": folder}})
    client.execute(env=os.environ | {"BDD100K_ZOO_CACHE": str(folder / "cache")})
    for cell in executed.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            if "image/jpeg" in output.get("data", {}):
                output.data.pop("image/png", None)  # several times as large
    executed.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    return executed


def compare(committed: Any, executed: Any) -> Iterator[str]:
    """Yield what differs, cell by cell; numbers and pictures may differ by rounding."""
    for number, (before, after) in enumerate(zip_longest(committed.cells, executed.cells), 1):
        if before is None or after is None or before.source != after.source:
            yield f"cell {number} has another source"
        elif before.cell_type == "code" and not _are_alike(before.outputs, after.outputs):
            shown = f"{_show(before)}\n\nis now\n\n{_show(after)}"
            yield f"cell {number}, {before.source.splitlines()[0]}, has another output:\n\n{shown}\n"


def _are_alike(before: list[Any], after: list[Any]) -> bool:
    if [each.output_type for each in before] != [each.output_type for each in after]:
        return False
    contents = zip(map(_contents, before), map(_contents, after), strict=True)
    return all(
        one.keys() == other.keys() and all(_is_alike(kind, one[kind], other[kind]) for kind in one)
        for one, other in contents
    )


def _contents(output: Any) -> dict[str, str]:
    """Return an output by MIME type; of a stream its text, by the stream's name."""
    return {output.name: output.text} if output.output_type == "stream" else dict(output.get("data", {}))


def _is_alike(kind: str, before: str, after: str) -> bool:
    if kind == "image/jpeg":
        one, other = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))).astype(int) for each in (before, after)
        )
        return one.shape == other.shape and np.abs(one - other).mean() <= PIXEL_TOLERANCE
    before, after = _ADDRESS.sub("0x", before), _ADDRESS.sub("0x", after)
    if _words(before) != _words(after):
        return False
    return all(
        math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
        for one, other in zip(_numbers(before), _numbers(after), strict=True)
    )


def _pixels(encoded: str) -> npt.NDArray[np.int16]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))), np.int16)


def _words(text: str) -> list[str]:
    """Return what is not a number; columns may be wider by a digit."""
    return _NUMBER.sub("#", text).split()


def _numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in _NUMBER.findall(text)]


def _show(cell: Any) -> str:
    contents = [text for output in cell.outputs for kind, text in _contents(output).items() if "image" not in kind]
    return "\n".join(contents)


def main(arguments: list[str]) -> int:
    """Execute the notebook; write it, or with ``--check`` compare and return 1 if it is out of date."""
    import nbformat

    committed = nbformat.read(TUTORIAL, as_version=4)
    with TemporaryDirectory() as folder:
        executed = execute(committed, Path(folder))
    if "--check" not in arguments:
        write_atomically(TUTORIAL, nbformat.writes(executed).encode() + b"\n")
        return 0
    differences = list(compare(committed, executed))
    for difference in differences:
        print(difference)  # noqa: T201
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
