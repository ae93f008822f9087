"""Shares and batches, and a run that several processes share, with a small network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import TinyDetector, draw, request_for, resume_run

from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.errors import ImagesError, InvalidFileError, RunMismatchError
from bdd100k_zoo.prediction.batches import batch_by_shape
from bdd100k_zoo.prediction.journal import read_journals
from bdd100k_zoo.prediction.launch import ProcessRank
from bdd100k_zoo.prediction.run import read_run
from bdd100k_zoo.prediction.run_folder import merge_lock, run_folder_lock
from bdd100k_zoo.prediction.sharding import check_run_complete, chunk_size, merge_journals, shard_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bdd100k_zoo.data.detections import Detections
    from bdd100k_zoo.progress import Unit

sizes = st.integers(1, 40)
counts = st.integers(0, 500)
worlds = st.integers(1, 70)


@given(chunks=counts, world=worlds)
def test_shares_are_contiguous_unpadded_and_nearly_equal(chunks: int, world: int) -> None:
    shares = [shard_chunks(chunks, rank, world) for rank in range(world)]
    assert list(chain.from_iterable(shares)) == list(range(chunks))
    lengths = {len(each) for each in shares}
    assert max(lengths) - min(lengths) <= 1


def test_a_chunk_is_one_frame_where_frames_are_computed_one_by_one_and_four_batches_elsewhere() -> None:
    assert [chunk_size(size) for size in (1, 2, 8, 32)] == [1, 8, 32, 128]


shapes = st.lists(st.sampled_from(["wide", "tall", "square"]), max_size=60)


@given(shapes=shapes, size=sizes)
def test_every_item_is_in_one_batch_of_its_shape_and_in_order(shapes: list[str], size: int) -> None:
    found = list(batch_by_shape(((shape, (shape, place)) for place, shape in enumerate(shapes)), size))
    assert sorted(place for batch in found for _, place in batch) == list(range(len(shapes)))
    for shape in set(shapes):
        of_shape = [batch for batch in found if batch[0][0] == shape]
        assert {each for batch in of_shape for each, _ in batch} == {shape}
        places = [place for batch in of_shape for _, place in batch]
        assert places == [place for place, each in enumerate(shapes) if each == shape]
        assert [len(batch) for batch in of_shape[:-1]] == [size] * (len(of_shape) - 1)
        assert 0 < len(of_shape[-1]) <= size


@given(shapes=shapes, size=sizes)
def test_a_full_batch_is_given_before_the_next_item_is_requested(shapes: list[str], size: int) -> None:
    asked = 0

    def items() -> Iterator[tuple[str, int]]:
        nonlocal asked
        for place, shape in enumerate(shapes):
            asked = place + 1
            yield shape, place

    for batch in batch_by_shape(items(), size):
        if len(batch) == size and asked < len(shapes):
            assert batch[-1] == asked - 1


# A run of several processes

FRAMES = 30
"""At batch size 2 four chunks: three of eight frames and one of six."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("share") / "frames"
    draw(folder, FRAMES)
    return folder


@pytest.fixture(scope="module")
def alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    resume_run(out, images, TinyDetector())
    return out


class Reports:
    """Keeps its messages."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.tasks: list[tuple[str, int | None, int]] = []

    @contextmanager
    def task(self, title: str, total: int | None, unit: Unit, done: int = 0) -> Iterator[Reports]:
        self.tasks.append((title, total, done))
        yield self

    def advance(self, amount: int) -> None:
        pass

    def restart(self, done: int, total: int | None) -> None:
        raise AssertionError("nothing restarts here")

    def note(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        if not message.startswith("unreadable image"):
            self.said.append(message)


def test_the_record_tells_what_was_done_and_how_long_it_took(alone: Path) -> None:
    run, frames = read_run(alone), json.loads((alone / "det.json").read_bytes())
    assert [frame["name"] for frame in frames] == [f"{place:04}.png" for place in range(FRAMES)]
    assert run.counts.images == FRAMES
    assert [image.name for image in run.unreadable] == ["0010.png", "0021.png"]
    assert run.counts.detections == sum(len(frame["labels"]) for frame in frames) > 100
    seconds = run.seconds
    assert min(seconds.decode, seconds.prepare, seconds.detect, seconds.write, seconds.assemble) > 0
    assert run.busy == pytest.approx(seconds.detect / (seconds.total - seconds.load - seconds.assemble))
    assert (run.processes, run.facts.batch_size, run.facts.threads, dict(run.split_batches)) == (1, 2, 1, {})
    assert run.facts.optimised is False


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_one_after_the_other_make_the_same_file_and_the_last_merges_it(
    images: Path, alone: Path, tmp_path: Path, world: int
) -> None:
    for rank in reversed(range(world)):
        reports = Reports()
        record = resume_run(tmp_path, images, TinyDetector(), place=ProcessRank(rank, world, rank), progress=reports)
        assert (record is None) == (rank > 0)
        if rank:
            assert f"rank {rank} of {world} is done" in reports.said[-1]
            assert "the same command resumes its share" in reports.said[-1]
            assert not (tmp_path / "det.json").exists()
    assert (tmp_path / "det.json").read_bytes() == (alone / "det.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["det.json", "run.json"]
    assert read_run(tmp_path).processes == world


def test_there_may_be_more_ranks_than_chunks(images: Path, alone: Path, tmp_path: Path) -> None:
    for rank in range(9):
        resume_run(tmp_path, images, TinyDetector(), place=ProcessRank(rank, 9, rank))
    assert (tmp_path / "det.json").read_bytes() == (alone / "det.json").read_bytes()
    assert read_run(tmp_path).processes == 4


def test_what_is_done_already_is_shown_as_done_and_not_done_again(images: Path, alone: Path, tmp_path: Path) -> None:
    for rank in (0, 2):
        resume_run(tmp_path, images, TinyDetector(), place=ProcessRank(rank, 4, rank))
    reports = Reports()
    resume_run(tmp_path, images, TinyDetector(), progress=reports)
    assert reports.tasks == [("Predicting", FRAMES, 16)]
    assert (tmp_path / "det.json").read_bytes() == (alone / "det.json").read_bytes()
    assert read_run(tmp_path).processes == 2


def test_journals_that_were_gathered_by_hand_are_merged(images: Path, alone: Path, tmp_path: Path) -> None:
    gathered = tmp_path / "gathered"
    gathered.mkdir()
    frames = find_images([str(images)]).frames
    for rank in range(3):
        with pytest.raises(InvalidFileError):
            check_run_complete(gathered, read_journals(gathered), frames)
        machine = tmp_path / str(rank)
        assert resume_run(machine, images, TinyDetector(), place=ProcessRank(rank, 3, rank)) is None
        shutil.copy(machine / f"journal-{rank}.jsonl", gathered)
    check_run_complete(gathered, read_journals(gathered), frames)
    assert merge_journals(gathered, Reports()) is not None
    assert (gathered / "det.json").read_bytes() == (alone / "det.json").read_bytes()


def test_what_is_missing_is_named_by_number_and_name(images: Path, tmp_path: Path) -> None:
    resume_run(tmp_path, images, TinyDetector(), place=ProcessRank(1, 4, 1))
    with pytest.raises(InvalidFileError) as caught:
        check_run_complete(tmp_path, read_journals(tmp_path), find_images([str(images)]).frames)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: 22 of {FRAMES} frames are missing:",
        "  1 to 8: 0000.png to 0007.png",
        "  17 to 30: 0016.png to 0029.png",
    ]


@pytest.mark.parametrize(
    ("batch_size", "changes", "message"),
    [(4, {}, "batch size: 2 there, 4 now"), (2, {"weights_sha256": "b" * 64}, "weights' SHA-256: aaa")],
)
def test_a_rank_of_another_plan_is_refused(
    images: Path, tmp_path: Path, batch_size: int, changes: dict[str, str], message: str
) -> None:
    resume_run(tmp_path, images, TinyDetector(), place=ProcessRank(0, 2, 0))
    with pytest.raises(RunMismatchError, match=message):
        resume_run(tmp_path, images, TinyDetector(), place=ProcessRank(1, 2, 1), batch_size=batch_size, **changes)
    assert not (tmp_path / "journal-1.jsonl").exists()


def test_while_one_merges_the_run_others_leave_it_alone(images: Path, alone: Path, tmp_path: Path) -> None:
    reports = Reports()
    with merge_lock(tmp_path):
        assert resume_run(tmp_path, images, TinyDetector(), progress=reports) is None
    assert "another process merges" in reports.said[-1]
    assert read_journals(tmp_path).complete
    assert merge_journals(tmp_path, reports) is not None
    assert merge_journals(tmp_path, reports) is None  # its journals are gone
    assert (tmp_path / "det.json").read_bytes() == (alone / "det.json").read_bytes()


def test_halved_batches_are_recorded(images: Path, tmp_path: Path) -> None:
    reports = Reports()
    resume_run(tmp_path, images, TinyDetector(most=1), progress=reports)
    assert sum(read_run(tmp_path).split_batches.values()) > 3
    assert len(reports.said) == 1
    assert "--batch-size 1" in reports.said[0]


class Failing(TinyDetector):
    def detect_prepared(self, batch):
        self.left -= 1
        if self.left < 0:
            raise KeyError("a fault of ours")
        return super().detect_prepared(batch)


def test_a_run_that_fails_says_what_is_kept(images: Path, tmp_path: Path) -> None:
    reports, detector = Reports(), Failing()
    detector.left = 10
    with pytest.raises(KeyError):
        resume_run(tmp_path, images, detector, progress=reports)
    assert f"16 of {FRAMES} images are done and kept in {tmp_path}; the same command resumes" in reports.said[-1]
    with run_folder_lock(tmp_path):  # nothing is held any more
        pass


class _TwoUnderWay(TinyDetector):
    """Starts a batch before the one before it is finished, and is interrupted at one of its starts."""

    batches_in_flight = 2

    def __init__(self, interrupted_at: int = 0) -> None:
        super().__init__()
        self.left = interrupted_at

    def start(self, batch: Sequence[Any]) -> Sequence[Any]:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return batch

    def finish(self, started: Sequence[Any]) -> list[Detections]:
        return self.detect_prepared(started)


def test_a_run_with_two_batches_under_way_resumes_after_an_interrupt_and_has_the_same_bytes(
    images: Path, alone: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        resume_run(tmp_path, images, _TwoUnderWay(14))
    done = read_journals(tmp_path).frames
    assert 0 < done < FRAMES
    reports = Reports()
    resume_run(tmp_path, images, _TwoUnderWay(), progress=reports)
    assert reports.tasks == [("Predicting", FRAMES, done)]
    assert (tmp_path / "det.json").read_bytes() == (alone / "det.json").read_bytes()


FULL_DISK = """\
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
import torch
from tiny import TinyDetector, resume_run
from test_sharding import Reports

torch.set_num_threads(1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
reports = Reports()
try:
    resume_run(Path(sys.argv[1]), Path(sys.argv[2]), TinyDetector(), progress=reports)
except Exception as error:
    print(type(error).__name__, error)
print(*reports.said, sep="\\n")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_full_disk_keeps_what_is_done_and_the_run_resumes_when_there_is_room(
    images: Path, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(out), str(images), "7000", str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"StorageError {out / 'journal-0.jsonl'}: ")
    assert f"of {FRAMES} images are done and kept in {out}; the same command resumes" in done.stdout
    kept = read_journals(out).frames
    assert 0 < kept < FRAMES
    reports = Reports()
    resume_run(out, images, TinyDetector(), progress=reports)
    assert reports.tasks == [("Predicting", FRAMES, kept)]
    assert (out / "det.json").read_bytes() == (alone / "det.json").read_bytes()


class _Unmounts(TinyDetector):
    """The images' folder is gone after some batches, and comes back as it was."""

    def __init__(self, images: Path) -> None:
        super().__init__()
        self.images, self.batches = images, 0

    def detect_prepared(self, batch: Sequence[Any]) -> list[Detections]:
        self.batches += 1
        if self.batches == 5:
            self.images.rename(self.images.with_name("elsewhere"))
        return super().detect_prepared(batch)


def test_images_that_are_removed_end_the_run_which_resumes_when_they_are_back(alone: Path, tmp_path: Path) -> None:
    images, out, reports = tmp_path / "frames", tmp_path / "out", Reports()
    draw(images, FRAMES)
    with pytest.raises(ImagesError, match="is gone since the run began"):
        resume_run(out, images, _Unmounts(images), progress=reports)
    assert f"of {FRAMES} images are done and kept in {out}; the same command resumes" in reports.said[-1]
    images.with_name("elsewhere").rename(images)
    resume_run(out, images, TinyDetector())
    assert (out / "det.json").read_bytes() == (alone / "det.json").read_bytes()


def test_the_first_line_holds_everything_that_could_change_a_bit(images: Path, tmp_path: Path) -> None:
    resume_run(tmp_path, images, TinyDetector(), place=ProcessRank(0, 2, 0))
    header = read_journals(tmp_path).header
    assert header is not None
    known, facts = request_for(find_images([str(images)]).frames, images), header.facts
    assert header.request == known
    assert (facts.backend, facts.device, facts.precision, facts.batch_size) == ("tiny", "cpu", "fp32", 2)
    assert facts.optimised is False
    assert (header.chunk_size, facts.threads) == (8, 1)
    assert facts.versions == {"python": "3", "torch": str(torch.__version__)}


def test_a_run_records_request_and_facts_as_the_first_journal_has_them(images: Path, tmp_path: Path) -> None:
    resume_run(tmp_path, images, TinyDetector(), place=ProcessRank(0, 2, 0))
    header = read_journals(tmp_path).header
    assert header is not None
    record = resume_run(tmp_path, images, TinyDetector(), place=ProcessRank(1, 2, 1))
    assert record is not None
    assert (record.request, record.facts, record.weights) == (header.request, header.facts, header.weights)
    read = read_run(tmp_path)
    used = {"backend": "tiny", "precision": "fp32", "batch_size": 2}
    assert read == msgspec.structs.replace(record, request=msgspec.structs.replace(record.request, **used))
