"""Unpacking zips of visuals: completely or not at all, and never outside the folder."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdd100k_zoo.errors import InvalidFileError, StorageError, ZooError
from bdd100k_zoo.hub.archive import Limits, UnpackResult, name_clash, name_problem, unpack_zip

if TYPE_CHECKING:
    from collections.abc import Callable

    from fault_host import Told

FRAMES = {"val/a.jpg": b"\xff\xd8 a picture", "val/b.jpg": b"\xff\xd8 another" * 100, "index.json": b"{}"}
MIB = 1 << 20


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "in" / "visuals.zip"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out" / "model"


def write_zip(
    archive: Path, contents: dict[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED
) -> Path:
    archive.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w", method) as zipped:
        for name, content in contents.items() if isinstance(contents, dict) else contents:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # ZipInfo itself would repair it
            info.compress_type = method
            zipped.writestr(info, content)
    return archive


def entry_of(name: str, **facts: object) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(archive: Path, folder: Path, tmp_path: Path) -> Callable[..., InvalidFileError]:
    """Unpack, and see that nothing but the zip is there afterwards."""

    def see(**limits: float) -> InvalidFileError:
        with pytest.raises(InvalidFileError) as caught:
            unpack_zip(archive, folder, limits=Limits(**limits))  # type: ignore[arg-type]
        assert caught.value.path == archive
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]
        assert not os.path.lexists(folder)
        return caught.value

    return see


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_file_comes_out_under_its_name(archive: Path, folder: Path, method: int) -> None:
    size = sum(map(len, FRAMES.values()))
    assert unpack_zip(write_zip(archive, FRAMES, method), folder) == UnpackResult(3, size)
    assert tree(folder) == FRAMES
    assert list(folder.parent.iterdir()) == [folder]


def test_a_zip_as_other_programs_make_it_with_folders_and_permissions(archive: Path, folder: Path) -> None:
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(entry_of("val/", external_attr=(stat.S_IFDIR | 0o755) << 16 | 0x10), b"")
        zipped.writestr(entry_of("val/a.jpg", external_attr=(stat.S_IFREG | 0o4777) << 16), b"a")
        zipped.writestr(entry_of("b.jpg", create_system=0, external_attr=0x20), b"b")
    assert unpack_zip(archive, folder).count == 2
    assert tree(folder) == {"val/a.jpg": b"a", "b.jpg": b"b"}
    assert not (folder / "val/a.jpg").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)


def test_progress_counts_the_files(archive: Path, folder: Path, told: Told) -> None:
    unpack_zip(write_zip(archive, FRAMES), folder, progress=told)
    assert told.tasks == [("unpacking visuals.zip", 3)]
    assert told.done == 3


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_an_existing_path_is_not_changed(archive: Path, folder: Path, kind: str) -> None:
    folder.parent.mkdir()
    {"file": folder.touch, "folder": folder.mkdir, "dangling link": lambda: folder.symlink_to("nowhere")}[kind]()
    with pytest.raises(StorageError, match="already exists"):
        unpack_zip(write_zip(archive, FRAMES), folder)
    assert list(folder.parent.iterdir()) == [folder]
    assert not (folder.parent / "nowhere").exists()


def test_a_missing_zip_is_reported(archive: Path, folder: Path) -> None:
    with pytest.raises(StorageError, match=r"visuals\.zip"):
        unpack_zip(archive, folder)


def test_a_full_disk_leaves_nothing(archive: Path, small_disk: Path) -> None:
    write_zip(archive, {"a.jpg": b"a", "b.jpg": os.urandom(MIB)}, zipfile.ZIP_STORED)
    with pytest.raises(StorageError, match="space"):
        unpack_zip(archive, small_disk / "model")
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "//host/share",
        "../up.jpg",
        "val/../../up.jpg",
        "val/..",
        "..",
        ".",
        "./a.jpg",
        "val//a.jpg",
        "C:a.jpg",
        "C:/a.jpg",
        "a.jpg:stream",
        "..\\up.jpg",
        "val\\a.jpg",
        "a\0.jpg",
        "a\n.jpg",
        "a\x1b[2J.jpg",
        "a\u202egpj.exe",
        "a" * 256,
        "../",
        "/",
    ],
)
def test_a_name_that_is_no_plain_path_below_the_folder_is_refused(
    archive: Path, refused: Callable[..., InvalidFileError], name: str
) -> None:
    write_zip(archive, {"good.jpg": b"good", name: b""})
    error = refused()
    assert f"entry {name!r}: " in error.problem
    assert "its name" in error.problem


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("val/a.jpg", "val/a.jpg"),
        ("val/a.jpg", "VAL/A.JPG"),
        ("straße.jpg", "STRASSE.jpg"),
        ("é.jpg", "e\u0301.jpg"),
        ("val", "val/a.jpg"),
        ("val/a.jpg", "val"),
        ("val/a.jpg/b/c", "VAL/a.jpg"),
        ("val", "val/"),
        ("val/", "val/"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_for_one_place_are_refused(
    archive: Path, refused: Callable[..., InvalidFileError], first: str, second: str
) -> None:
    write_zip(archive, [(first, b""), (second, b"")])
    assert any(f"entry {name!r}: " in refused().problem for name in (first, second))


@pytest.mark.parametrize(
    ("name", "mode", "told"),
    [
        ("link", stat.S_IFLNK, "link"),
        ("link/", stat.S_IFLNK, "link"),
        ("fifo", stat.S_IFIFO, "no regular file"),
        ("device", stat.S_IFBLK, "no regular file"),
        ("socket", stat.S_IFSOCK, "no regular file"),
        ("folder", stat.S_IFDIR, "no regular file"),
        ("file/", stat.S_IFREG, "no regular file"),
    ],
)
@pytest.mark.parametrize("system", [0, 3])
def test_anything_but_a_regular_file_is_refused(
    archive: Path, refused: Callable[..., InvalidFileError], name: str, mode: int, told: str, system: int
) -> None:
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(entry_of(name, create_system=system, external_attr=(mode | 0o777) << 16), b"/etc/passwd"[:0])
    error = refused()
    assert f"entry {name!r}: " in error.problem
    assert told in error.problem


@pytest.mark.parametrize(("attributes", "told"), [(0x400, "link"), (0x10, "no regular file")])
def test_links_and_folders_by_the_attributes_of_windows_are_refused(
    archive: Path, refused: Callable[..., InvalidFileError], attributes: int, told: str
) -> None:
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(entry_of("a.jpg", create_system=0, external_attr=attributes), b"")
    assert told in refused().problem


def patched(archive: Path, signature: bytes, offset: int, value: bytes) -> None:
    """Change a field of the first record of its kind in a zip."""
    content = bytearray(archive.read_bytes())
    place = content.index(signature) + offset
    content[place : place + len(value)] = value
    archive.write_bytes(content)


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
FLAGS, METHOD, CRC, PACKED, SIZE = (6, 8), (8, 10), (14, 16), (18, 20), (22, 24)
"""Offsets of fields in an entry's own header, and in the list of entries."""


def lying(archive: Path, field: tuple[int, int], value: bytes) -> None:
    for signature, offset in zip((LOCAL, CENTRAL), field, strict=True):
        patched(archive, signature, offset, value)


def test_a_folder_with_contents_is_refused(archive: Path, refused: Callable[..., InvalidFileError]) -> None:
    write_zip(archive, {"val/": b"contents"})
    assert "folder with contents" in refused().problem


@pytest.mark.parametrize("flags", [0x1, 0x41, 0x2001])
def test_an_encrypted_entry_is_refused(archive: Path, refused: Callable[..., InvalidFileError], flags: int) -> None:
    write_zip(archive, FRAMES)
    lying(archive, FLAGS, struct.pack("<H", flags))
    assert "encrypted" in refused().problem


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_compress_are_refused(
    archive: Path, refused: Callable[..., InvalidFileError], method: int
) -> None:
    write_zip(archive, FRAMES, method)
    assert f"method {method}" in refused().problem


def test_a_wrong_checksum_is_reported(archive: Path, refused: Callable[..., InvalidFileError]) -> None:
    write_zip(archive, FRAMES, zipfile.ZIP_STORED)
    patched(archive, FRAMES["val/b.jpg"][:10], 0, b"OTHER")
    error = refused()
    assert "entry 'val/b.jpg': " in error.problem
    assert "CRC" in error.problem


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>not found</html>", bytes(1000)])
def test_a_file_that_is_no_zip_is_reported(
    archive: Path, refused: Callable[..., InvalidFileError], content: bytes
) -> None:
    archive.parent.mkdir()
    archive.write_bytes(content)
    assert "zip" in refused().problem


@pytest.mark.parametrize("length", [100, 2000, -1, -30])
def test_a_truncated_zip_is_reported(archive: Path, refused: Callable[..., InvalidFileError], length: int) -> None:
    write_zip(archive, {**FRAMES, "c.jpg": os.urandom(3000)})
    archive.write_bytes(archive.read_bytes()[:length])
    assert "damaged" in refused().problem


def test_too_many_files_are_refused_and_just_enough_are_not(
    archive: Path, folder: Path, refused: Callable[..., InvalidFileError]
) -> None:
    write_zip(archive, {f"{number}.jpg": b"" for number in range(11)})
    assert "11 files; 10" in refused(files=10).problem
    assert unpack_zip(archive, folder, limits=Limits(files=11)).count == 11


def test_too_many_bytes_are_refused_and_just_enough_are_not(
    archive: Path, folder: Path, refused: Callable[..., InvalidFileError]
) -> None:
    write_zip(archive, {"a.jpg": bytes(600), "b.jpg": bytes(400)})
    assert "1,000 bytes; 999" in refused(size=999).problem
    assert unpack_zip(archive, folder, limits=Limits(size=1000)).size == 1000


def test_a_file_that_is_a_bomb_is_refused(archive: Path, refused: Callable[..., InvalidFileError]) -> None:
    write_zip(archive, {"a.jpg": os.urandom(2 * MIB), "bomb.jpg": bytes(8 * MIB)})
    error = refused(total_ratio=1000)
    assert "entry 'bomb.jpg': " in error.problem
    assert "100 times" in error.problem


def test_many_files_that_together_are_a_bomb_are_refused(
    archive: Path, refused: Callable[..., InvalidFileError]
) -> None:
    write_zip(archive, {f"{number}.jpg": bytes(MIB // 2) for number in range(20)})
    error = refused()
    assert "entry" not in error.problem
    assert "4 times" in error.problem


def test_pictures_with_text_beside_them_are_no_bomb(archive: Path, folder: Path) -> None:
    text = b"\n".join(
        b'{"name": "%08x.jpg", "labels": [%d]}' % (zlib.crc32(bytes([n % 256])), n) for n in range(60_000)
    )
    write_zip(archive, {"index.json": text, "a.jpg": os.urandom(MIB)})
    assert unpack_zip(archive, folder).size == len(text) + MIB


def test_entries_that_share_bytes_are_refused(archive: Path, refused: Callable[..., InvalidFileError]) -> None:
    """The list of entries names one stored file many times, as the flattest of zip bombs does."""
    write_zip(archive, {f"{number}.jpg": os.urandom(1000) for number in range(5)}, zipfile.ZIP_STORED)
    content = archive.read_bytes()
    start = content.index(CENTRAL)
    listed = content[start:]
    for _ in range(5):
        listed = listed.replace(*_pointing_at_the_first(listed))
    archive.write_bytes(content[:start] + listed)
    assert "shares bytes" in refused().problem


def _pointing_at_the_first(listed: bytes) -> tuple[bytes, bytes]:
    """Return the first record of a list that points elsewhere than at byte 0, and the same pointing there."""
    place = -1
    while (place := listed.find(CENTRAL, place + 1)) >= 0:
        record = listed[place : place + 46]
        if record[42:46] != bytes(4):
            return record, record[:42] + bytes(4)
    return b"\0none", b""


def test_an_entry_that_swallows_the_next_is_refused(archive: Path, refused: Callable[..., InvalidFileError]) -> None:
    """Its contents reach over the next entry's header, which both unpack: a quoted overlap."""
    write_zip(archive, {"a.jpg": os.urandom(100), "b.jpg": os.urandom(100)}, zipfile.ZIP_STORED)
    for field in (PACKED, SIZE):
        lying(archive, field, struct.pack("<I", 200))
    assert "shares bytes" in refused().problem


def test_the_last_entry_does_not_reach_into_the_list(archive: Path, refused: Callable[..., InvalidFileError]) -> None:
    write_zip(archive, {"a.jpg": os.urandom(100)}, zipfile.ZIP_STORED)
    for field in (PACKED, SIZE):
        lying(archive, field, struct.pack("<I", 160))
    assert "shares bytes" in refused().problem


@pytest.mark.parametrize("claimed", [0, 10, 8 * MIB - 1, 8 * MIB + 1])
def test_no_more_comes_out_than_an_entry_says(
    archive: Path, refused: Callable[..., InvalidFileError], claimed: int
) -> None:
    """The limits were held against what the header says, so the bytes that come out are held against the header."""
    write_zip(archive, {"a.jpg": bytes(8 * MIB), "b.jpg": os.urandom(4 * MIB)})
    lying(archive, SIZE, struct.pack("<I", claimed))
    error = refused(ratio=10_000, total_ratio=10_000)
    assert "entry 'a.jpg': " in error.problem
    assert "damaged" in error.problem


def test_an_endless_list_of_entries_is_not_read(archive: Path, refused: Callable[..., InvalidFileError]) -> None:
    archive.parent.mkdir()
    length = 17 * MIB
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, length, 0, 0)
    with archive.open("wb") as file:
        file.seek(length)
        file.write(end)
    assert "list of entries" in refused().problem


def test_sixty_thousand_frames_have_a_list_that_is_read(archive: Path, folder: Path) -> None:
    write_zip(archive, {f"visuals/bdd100k/val/b1c66a42-{n:08x}.jpg": b"" for n in range(3000)}, zipfile.ZIP_STORED)
    content = archive.read_bytes()
    assert 20 * (len(content) - content.index(CENTRAL)) < 16 * MIB
    assert unpack_zip(archive, folder).count == 3000


parts = st.one_of(
    st.sampled_from(["..", ".", "", "a", "A", "val", "C:", "~", "\\", "\0", "\n", "é", "e\u0301", "ß", "ss", "con"]),
    st.text(max_size=6),
)
entry_names = st.lists(parts, min_size=1, max_size=5).map("/".join)


@given(entry_names)
def test_a_name_that_is_accepted_stays_below_its_folder_on_every_system(name: str) -> None:
    if name_problem(name):
        return
    parts = PurePosixPath(name).parts
    assert ".." not in parts
    assert not PurePosixPath(name).is_absolute()
    assert "/".join(parts) == name.removesuffix("/")
    assert not set("\\:\0\n\r\x1b") & set(name)
    assert os.path.normpath(os.path.join("/base", name)).startswith("/base/")  # noqa: PTH118


@given(st.lists(st.from_regex(r"[a-z0-9_-]{1,8}(\.[a-z]{3})?", fullmatch=True), min_size=1, max_size=5))
def test_every_name_of_a_frame_is_accepted(parts: list[str]) -> None:
    assert name_problem("/".join(parts)) == ""
    assert name_problem("/".join(parts) + "/") == ""


alike = st.sampled_from(["a", "A", "b", "straße", "STRASSE", "é", "e\u0301", "É"])
names_alike = st.builds(
    lambda parts, end: "/".join(parts) + end,
    st.lists(alike, min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)


@given(st.lists(names_alike, max_size=6))
def test_names_that_do_not_clash_are_different_places_on_a_file_system_that_folds_case(names: list[str]) -> None:
    clash = name_clash(names)
    places = [PurePosixPath(name.casefold().replace("e\u0301", "é")) for name in names]
    files = {place for place, name in zip(places, names, strict=True) if not name.endswith("/")}
    distinct = len(set(places)) == len(places)
    nested = any(parent in files for place in places for parent in place.parents)
    assert (clash is None) == (distinct and not nested)
    assert clash is None or clash[0] in names


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_zip_with_any_bytes_changed_is_unpacked_completely_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    base = tmp_path_factory.mktemp("fuzz")
    archive, folder = write_zip(base / "in" / "visuals.zip", FRAMES), base / "model"
    content = bytearray(archive.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    archive.write_bytes(content)
    with suppress(ZooError):
        unpack_zip(archive, folder)
    arrived = set(base.rglob("*")) - {archive, archive.parent}
    assert all(path == folder or folder in path.parents for path in arrived)
    assert set(tree(folder).values()) <= set(FRAMES.values())
