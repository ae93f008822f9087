"""The command line in this process, and a folder served over HTTP."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple, Protocol

import pytest
from typer.testing import CliRunner

from bdd100k_zoo.cli.app import app_for, expand_cfg_options, move_globals_first

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result


class Call(Protocol):
    def __call__(self, *arguments: str) -> Result: ...


@pytest.fixture
def call() -> Call:
    """Run the command line as the console script does, and give exit code, stdout and stderr."""
    runner = CliRunner()

    def run(*arguments: str) -> Result:
        given = expand_cfg_options(move_globals_first(list(arguments)))
        return runner.invoke(app_for(given), given, prog_name="bdd100k-zoo")

    return run


class Served(NamedTuple):
    folder: Path
    address: str


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A folder, and the address on this machine under which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Served(folder, f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()


ZOO = """\
models:
  - name: {name}
    aliases: []
    family: faster_rcnn
    backbone: R-50-FPN
    schedule: 1x
    multi_scale_training: false
    config: config.py
    ap_val: null
    ap_test: null
    weights:
      address: {address}/weights.pth
      alternates: []
      digest: {digest}
      size: null
    md5: {md5}
    predictions: null
    visuals: null
    scores_val: null
    scores_test: null
"""


@pytest.fixture
def write_zoo(tmp_path: Path, served: Served):
    """Write a zoo file that lists one model whose weights the served folder holds."""

    def write(name: str = "mine", digest: str = "null", md5: str = "null", config: str | None = None) -> Path:
        folder = tmp_path / "zoo"
        folder.mkdir(exist_ok=True)
        base = '_base_ = ["bdd100k_zoo::faster_rcnn_r50_fpn_1x_det_bdd100k.py"]\n'
        (folder / "config.py").write_text(config or base)
        (folder / "zoo.yaml").write_text(ZOO.format(name=name, address=served.address, digest=digest, md5=md5))
        return folder / "zoo.yaml"

    return write
