"""Journals: exact to the bit, whole chunks only, whatever tears them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from records import PROCESS, WEIGHTS, make_header

from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.errors import InvalidFileError, RunMismatchError, StorageError
from bdd100k_zoo.prediction.journal import (
    Journal,
    JournalHeader,
    Journals,
    delete_journals,
    journal_path,
    read_journal,
    read_journals,
)
from bdd100k_zoo.prediction.pipeline import ChunkResult, FrameResult, StageSeconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SIZE = 3
FRAMES = 11
"""Three chunks of three frames, and one of two."""


def header(**changes: Any) -> JournalHeader:
    return make_header(**({"model": "x", "frames": FRAMES, "chunk_size": SIZE} | changes))


def found(number: int, boxes: int) -> Detections:
    random = np.random.default_rng(number)
    corners, scores = random.random((boxes, 4), np.float32), random.random(boxes, np.float32)
    return Detections(corners, scores, random.integers(0, 10, boxes))


def frame(number: int) -> FrameResult:
    """Every fifth is unreadable."""
    if number % 5 == 4:
        return FrameResult(number, f"{number:02}.jpg", Detections.empty(), "is empty")
    return FrameResult(number, f"{number:02}.jpg", found(number, number % 4))


def chunk(number: int, **facts: Any) -> ChunkResult:
    return ChunkResult(number, [frame(place) for place in header().chunks.frames_of(number)], **facts)


def write(path: Path, numbers: Iterable[int], **changes: Any) -> None:
    with Journal(path, header(**changes), PROCESS) as journal:
        for number in numbers:
            journal.write(chunk(number))


def same(one: FrameResult, other: FrameResult) -> bool:
    columns = zip(
        (one.detections.boxes, one.detections.scores, one.detections.classes),
        (other.detections.boxes, other.detections.scores, other.detections.classes),
        strict=True,
    )
    equal = all(a.tobytes() == b.tobytes() and a.dtype == b.dtype for a, b in columns)
    return equal and (one.number, one.name, one.unreadable) == (other.number, other.name, other.unreadable)


def check(folder: Path, numbers: Sequence[int]) -> Journals:
    """Check that exactly those chunks are done, and whole."""
    journals = read_journals(folder)
    assert [number for number in range(4) if journals.has(number)] == list(numbers)
    expected = [place for number in numbers for place in header().chunks.frames_of(number)]
    done = list(journals.in_order())
    assert [each.number for each in done] == expected
    assert all(same(each, frame(each.number)) for each in done)
    assert journals.frames == len(expected)
    assert journals.complete == (len(numbers) == 4)
    return journals


def test_a_link_in_the_place_of_a_journal_is_not_written_through(tmp_path: Path) -> None:
    other, journal = tmp_path / "other", journal_path(tmp_path, 0)
    other.write_bytes(b"of somebody else")
    journal.symlink_to(other)
    with pytest.raises((StorageError, InvalidFileError)):
        write(journal, [0])
    assert other.read_bytes() == b"of somebody else"
    other.write_bytes(b"")
    with pytest.raises(StorageError, match="is a link"):
        write(journal, [0])
    assert other.read_bytes() == b""


def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    write(journal_path(tmp_path, 0), [2, 0, 3, 1])
    journals = check(tmp_path, [0, 1, 2, 3])
    assert journals.detections == sum(len(frame(number).detections) for number in range(FRAMES))
    assert journals.processes == [PROCESS]
    assert journals.header == header()


def test_a_path_of_bytes_that_are_no_utf_8_does_not_cost_the_journal(tmp_path: Path) -> None:
    write(journal_path(tmp_path, 0), [0], weights=msgspec.structs.replace(WEIGHTS, path="caf\udce9.pth"))
    (first,) = read_journals(tmp_path).headers
    assert first.weights.path == "caf\\udce9.pth"


floats = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(data=st.data(), boxes=st.integers(0, 6))
@settings(max_examples=50, deadline=None)
def test_detections_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, boxes: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    detections = Detections(
        data.draw(arrays.arrays(np.float32, (boxes, 4), elements=floats)),
        data.draw(arrays.arrays(np.float32, boxes, elements=floats)),
        data.draw(arrays.arrays(np.int64, boxes, elements=st.integers(0, 9))),
    )
    written = FrameResult(0, "ä/車.jpg", detections)
    with Journal(journal_path(folder, 0), header(frames=1), PROCESS) as journal:
        journal.write(ChunkResult(0, [written]))
    (read,) = read_journals(folder).in_order()
    assert same(read, written)


def test_every_line_is_json_that_says_what_it_is(tmp_path: Path) -> None:
    write(journal_path(tmp_path, 0), [1])
    lines = [json.loads(line) for line in journal_path(tmp_path, 0).read_bytes().splitlines()]
    assert [next(iter(line)) for line in lines] == ["journal", "process", "frame", "frame", "frame", "chunk"]
    assert lines[0]["request"]["frames"] == FRAMES
    assert lines[0]["facts"]["batch_size"] == 8
    assert (lines[3]["name"], lines[3]["unreadable"]) == ("04.jpg", "is empty")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = journal_path(tmp_path_factory.mktemp("whole"), 0)
    write(path, [0, 1, 2])
    return path.read_bytes()


def ends_of_chunks(content: bytes) -> list[int]:
    ends, position = [], 0
    for line in content.splitlines(keepends=True):
        position += len(line)
        if line.startswith(b'{"chunk"'):
            ends.append(position)
    return ends


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_wherever_a_journal_is_cut_its_closed_chunks_count_and_it_resumes(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(whole)))
    path = journal_path(tmp_path_factory.mktemp("cut"), 0)
    path.write_bytes(whole[:at])
    done = list(range(sum(end <= at for end in ends_of_chunks(whole))))
    check(path.parent, done)
    write(path, [number for number in range(4) if number not in done])
    check(path.parent, [0, 1, 2, 3])


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_damaged_byte_among_frames_costs_what_follows_and_nothing_wrong_is_read(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    begin = whole.index(b'{"frame"')
    at = data.draw(st.integers(begin, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[at] ^= data.draw(st.integers(1, 255))
    path = journal_path(tmp_path_factory.mktemp("damaged"), 0)
    path.write_bytes(damaged)
    ends = [0, *ends_of_chunks(whole)]
    in_frames = b'"frame"' in whole[whole.rindex(b"\n", 0, at) + 1 :].split(b"\n", 1)[0]
    if in_frames:
        check(path.parent, list(range(sum(end <= at for end in ends) - 1)))
    write(path, [number for number in range(4) if not read_journals(path.parent).has(number)])
    if in_frames:
        check(path.parent, [0, 1, 2, 3])


@pytest.mark.parametrize("number", [b"0", b"2", b"3", b"4", b"9", b"-1"])
def test_a_chunk_under_another_number_is_damaged_and_costs_what_follows(
    tmp_path: Path, whole: bytes, number: bytes
) -> None:
    path = journal_path(tmp_path, 0)
    path.write_bytes(whole.replace(b'{"chunk":1,', b'{"chunk":' + number + b","))
    check(tmp_path, [0])
    write(path, [1, 2, 3])
    check(tmp_path, [0, 1, 2, 3])


def test_zeros_that_a_power_cut_leaves_are_cut_off(tmp_path: Path, whole: bytes) -> None:
    path = journal_path(tmp_path, 0)
    path.write_bytes(whole + b"\0" * 4096)
    write(path, [3])
    check(tmp_path, [0, 1, 2, 3])
    assert b"\0" not in path.read_bytes()


def test_chunks_can_be_read_as_soon_as_they_are_written(tmp_path: Path) -> None:
    assert not read_journals(tmp_path).complete
    with Journal(journal_path(tmp_path, 0), header(), PROCESS) as journal:
        for number in range(4):
            assert read_journals(tmp_path).frames == min(number * SIZE, FRAMES)
            journal.write(chunk(number))
    assert read_journals(tmp_path).complete


def test_journals_of_several_ranks_count_together_and_a_chunk_twice_counts_once(tmp_path: Path) -> None:
    write(journal_path(tmp_path, 0), [0, 1])
    write(journal_path(tmp_path, 10), [1, 3])
    assert read_journals(tmp_path).missing() == [range(6, 9)]
    write(journal_path(tmp_path, 2), [2])
    journals = check(tmp_path, [0, 1, 2, 3])
    assert (journals.ranks, len(journals.processes)) == (3, 3)
    delete_journals(tmp_path)
    assert list(tmp_path.iterdir()) == []


@given(done=st.sets(st.integers(0, 3)))
@settings(max_examples=16, deadline=None)
def test_what_is_missing_is_given_in_as_few_ranges_as_there_are_gaps(
    tmp_path_factory: pytest.TempPathFactory, done: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("gaps")
    write(journal_path(folder, 0), done)
    gaps = read_journals(folder).missing()
    lost = [place for number in range(4) if number not in done for place in header().chunks.frames_of(number)]
    assert [place for gap in gaps for place in gap] == lost
    assert all(one.stop < other.start for one, other in itertools.pairwise(gaps))


def test_times_and_halved_batches_are_added_up(tmp_path: Path) -> None:
    with Journal(journal_path(tmp_path, 0), header(), PROCESS) as journal:
        journal.write(chunk(0, spent=StageSeconds(decode=0.25, detect=1.0, wall=2.0), split={8: 1, 4: 2}))
        journal.write(chunk(1, spent=StageSeconds(prepare=0.5, detect=0.5, wall=1.0), split={4: 1}))
    journals = read_journals(tmp_path)
    spent = journals.spent
    assert (spent.decode, spent.prepare, spent.detect, spent.wall) == (0.25, 0.5, 1.5, 3.0)
    assert spent.write > 0
    assert journals.split == {8: 1, 4: 3}


def test_a_journal_of_another_run_is_left_as_it_is_and_what_differs_is_reported(tmp_path: Path) -> None:
    path = journal_path(tmp_path, 0)
    write(path, [0])
    before = path.read_bytes() + b"torn"
    path.write_bytes(before)
    with pytest.raises(RunMismatchError) as caught:
        write(path, [1], model="y")
    assert caught.value.differences == ("model: x there, y now",)
    assert path.read_bytes() == before
    write(journal_path(tmp_path, 1), [1], model="y")
    with pytest.raises(RunMismatchError, match=r"journal-1\.jsonl holds another run \(model: x there, y now\)"):
        read_journals(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]\n", "not a journal"),
        (b"\xff\n", "not a journal"),
        (b'{"a": 1}\n', "not a journal"),
        (b"[" * 100_000 + b"\n", "not a journal"),
        (b'{"journal":1,"plan":{}}\n', "format 1"),
        (b'{"journal":3,"request":REQUEST}\n', "format 3"),
    ],
    ids=lambda value: str(value[:10]),
)
def test_what_is_no_journal_is_refused_and_left_alone(tmp_path: Path, content: bytes, message: str) -> None:
    path = journal_path(tmp_path, 0)
    write(path, [])
    request = json.dumps(json.loads(path.read_bytes().splitlines()[0])["request"]).encode()
    path.write_bytes(content := content.replace(b"REQUEST", request))
    with pytest.raises(InvalidFileError, match=message):
        write(path, [0])
    with pytest.raises(InvalidFileError, match=message):
        read_journals(tmp_path)
    assert path.read_bytes() == content


def test_a_journal_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert list(read_journal(journal_path(tmp_path, 0))) == []


def test_a_reason_of_bytes_that_are_no_utf_8_is_kept(tmp_path: Path) -> None:
    done = [FrameResult(0, "00.jpg", Detections.empty(), "caf\udce9"), frame(1), frame(2)]
    with Journal(journal_path(tmp_path, 0), header(), PROCESS) as journal:
        journal.write(ChunkResult(0, done))
    assert next(read_journals(tmp_path).in_order()).unreadable == "caf\\udce9"


FULL_DISK = """\
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_journal import PROCESS, Journal, StorageError, chunk, header

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
with Journal(Path(sys.argv[1]), header(), PROCESS) as journal:
    for number in range(4):
        try:
            journal.write(chunk(number))
        except StorageError as error:
            print(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
@pytest.mark.parametrize("room", [1, 100, -100])
def test_a_disk_that_fills_up_costs_the_chunk_that_has_no_room_and_no_other(
    tmp_path: Path, whole: bytes, room: int
) -> None:
    path = journal_path(tmp_path, 0)
    limit = ends_of_chunks(whole)[1 if room < 0 else 0] + room
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(path), str(limit), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: ")
    check(tmp_path, [0, 2, 3])


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        write(tmp_path / "none" / "journal-0.jsonl", [])
    assert caught.value.path == tmp_path / "none" / "journal-0.jsonl"
