"""Reading and atomic writing of files; frame names that stay inside their folder on any system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bdd100k_zoo.errors import InvalidFileError, StorageError
from bdd100k_zoo.files import (
    LARGEST_RECORD,
    READ_CHUNK_BYTES,
    check_frame_name,
    open_nofollow,
    read_chunks,
    read_record,
    storage_errors,
    write_atomically,
)


def listing(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("size", [0, 1, READ_CHUNK_BYTES, 2 * READ_CHUNK_BYTES + 7])
def test_the_chunks_of_a_file_are_the_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    pieces = list(read_chunks(path))
    assert b"".join(pieces) == path.read_bytes()
    assert all(0 < len(piece) <= READ_CHUNK_BYTES for piece in pieces)


def test_a_file_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        list(read_chunks(tmp_path / "none"))


def test_parent_folders_are_created_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "run.json"
    write_atomically(path, b"\x00content")
    assert path.read_bytes() == b"\x00content"
    assert listing(path.parent) == ["run.json"]


def test_an_old_file_is_replaced_and_its_permissions_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old and longer")
    path.chmod(0o604)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o604


def test_a_new_file_has_the_users_default_permissions(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    write_atomically(tmp_path / "whole", b"")
    assert (tmp_path / "whole").stat().st_mode == plain.stat().st_mode


def test_a_reader_of_the_old_file_still_reads_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"


def test_the_target_of_a_link_is_written_if_links_are_followed(tmp_path: Path) -> None:
    path, link = tmp_path / "there" / "file", tmp_path / "link"
    link.symlink_to(path)
    write_atomically(link, b"x", follow_links=True)
    assert link.is_symlink()
    assert path.read_bytes() == b"x"


def test_a_link_in_place_of_a_record_is_replaced_and_its_target_unchanged(tmp_path: Path) -> None:
    path, link = tmp_path / "there", tmp_path / "run.json"
    path.write_bytes(b"of somebody else")
    path.chmod(0o604)
    link.symlink_to(path)
    write_atomically(link, b"x")
    assert not link.is_symlink()
    assert (link.read_bytes(), path.read_bytes()) == (b"x", b"of somebody else")
    assert link.stat().st_mode & 0o777 != 0o604
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    write_atomically(dangling, b"y")
    assert dangling.read_bytes() == b"y"
    assert sorted(listing(tmp_path)) == ["dangling", "run.json", "there"]


@pytest.mark.parametrize("mode", ["w", "a", "r+", "x+"])
def test_records_are_not_opened_through_a_link(tmp_path: Path, mode: str) -> None:
    path, link = tmp_path / "there", tmp_path / "journal"
    path.write_bytes(b"of somebody else")
    link.symlink_to(path)
    with pytest.raises(OSError, match=r"link|exists"):
        open_nofollow(link, mode)
    assert path.read_bytes() == b"of somebody else"


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="is not a regular file"):
            read_record(path)
    (tmp_path / "large").write_bytes(b"")
    os.truncate(tmp_path / "large", LARGEST_RECORD + 1)
    with pytest.raises(OSError, match="has more than 16,777,216 bytes"):
        read_record(tmp_path / "large")


def test_a_folder_in_place_of_the_file_is_a_storage_error_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.mkdir()
    with pytest.raises(StorageError) as caught:
        write_atomically(path, b"x")
    assert caught.value.path == path
    assert caught.value.reason
    assert listing(tmp_path) == ["run.json"]


def test_a_file_in_place_of_a_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"")
    with pytest.raises(StorageError):
        write_atomically(tmp_path / "runs" / "x" / "run.json", b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_full_disk_keeps_the_old_file_and_leaves_no_part_of_the_new(tmp_path: Path) -> None:
    """A limit on the size of files simulates the full disk, in a separate process."""
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from bdd100k_zoo.errors import StorageError\n"
        "from bdd100k_zoo.files import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_atomically(Path(sys.argv[1]), bytes(100_000))\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"{path}: ")
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["run.json"]


def test_storage_errors_translates_only_os_errors(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"No such file or directory") as caught, storage_errors(tmp_path):
        (tmp_path / "gone").read_bytes()
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with pytest.raises(ZeroDivisionError), storage_errors(tmp_path):
        _ = 1 / 0


def test_an_os_error_without_strerror_keeps_its_text(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="odd"), storage_errors(tmp_path):
        raise OSError("odd")


# Frame names


@pytest.mark.parametrize(
    "name",
    [
        "b1c66a42-6f7d68ca.jpg",
        "day/night/1.png",
        "a b.jpg",
        "…/ä/車.jpg",
        "..jpg",
        "a..b/c...jpg",
        "~.jpg",
        "-rf.jpg",
        "x.jpg.",
        "100%.jpg",
    ],
)
def test_a_relative_name_is_returned(name: str) -> None:
    assert check_frame_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "./",
        "/",
        "//host/share/x.jpg",
        "/etc/passwd",
        "..",
        "../x.jpg",
        "a/../../x.jpg",
        "a/../x.jpg",
        "a/..",
        "..\\x.jpg",
        "a\\..\\..\\x.jpg",
        "C:\\x.jpg",
        "C:x.jpg",
        "c:/x.jpg",
        "\\x.jpg",
        "\\\\host\\share\\x.jpg",
        "a\0.jpg",
        "a\n.jpg",
        "\x1b[2Jx.jpg",
        "a\x7f.jpg",
        "\x9b2Jx.jpg",
        "\udcff.jpg",
        "a/\ud800.jpg",
    ],
)
def test_a_name_that_leaves_its_folder_or_is_not_printable_is_refused(name: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        check_frame_name(name)
    assert repr(name) in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(alphabet=st.sampled_from("./\\:aC~\0é -\n"), max_size=12))
@example("a/./..")
@example("a/..\n")
def test_accepted_names_stay_inside_their_folder(name: str) -> None:
    try:
        check_frame_name(name)
    except InvalidFileError:
        return
    for kind, folder in ((PurePosixPath, "/data/images"), (PureWindowsPath, "C:\\data\\images")):
        joined = kind(folder) / name
        assert joined.is_relative_to(folder)
        assert ".." not in joined.parts
    assert "\0" not in name
