"""The generated block of a document: found, compared, replaced, and nothing else touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.errors import StaleBlockError, StorageError
from bdd100k_zoo.reporting.tables import BEGIN, END, is_block_current, write_block

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = "### Title\n\n| a | ✓ |\n"
FORMS = {
    "empty": f"{BEGIN}{END}",
    "one line": f"# Zoo\n\n{BEGIN}\n{END}\n\nmore\n",
    "stale": f"# Zoo\n\n{BEGIN}\n\n### Old\n\n| b |\n\n{END}\nmore",
    "byte order mark": f"\ufeff{BEGIN}\n{END}\n",
    "indented": f"- list\n  {BEGIN}\n  {END} tail\n",
}


def listing(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "README.md"


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_what_was_written_is_current_and_is_not_written_again(path: Path, text: str) -> None:
    path.write_bytes(text.encode())
    assert not is_block_current(path, BLOCK)
    assert write_block(path, BLOCK)
    assert is_block_current(path, BLOCK)
    written = path.stat().st_ino
    assert not write_block(path, BLOCK)
    assert path.stat().st_ino == written
    assert BLOCK in path.read_bytes().decode()


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_what_stands_around_the_markers_stays(path: Path, text: str) -> None:
    path.write_bytes(text.encode())
    write_block(path, BLOCK)
    found = path.read_bytes().decode()
    assert found.partition(BEGIN)[0] == text.partition(BEGIN)[0]
    assert found.partition(END)[2] == text.partition(END)[2]
    assert "Old" not in found


def test_the_block_stands_a_blank_line_from_its_markers(path: Path) -> None:
    path.write_text(f"{BEGIN}\n{END}\n")
    write_block(path, BLOCK)
    assert path.read_text() == f"{BEGIN}\n\n{BLOCK}\n{END}\n"


def test_a_document_with_windows_line_ends_keeps_them(path: Path) -> None:
    path.write_bytes(f"# Zoo\r\n{BEGIN}\r\nold\r\n{END}\r\nmore\r\n".encode())
    assert write_block(path, BLOCK)
    assert is_block_current(path, BLOCK)
    content = path.read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n") > 5
    assert content.endswith(b"\r\nmore\r\n")


def test_a_current_document_stays_current_when_git_gives_it_windows_line_ends(path: Path) -> None:
    path.write_text(f"# Zoo\n{BEGIN}\n{END}\n")
    write_block(path, BLOCK)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert is_block_current(path, BLOCK)


def test_one_changed_character_is_stale(path: Path) -> None:
    path.write_text(f"{BEGIN}\n{END}\n")
    write_block(path, BLOCK)
    path.write_text(path.read_text().replace("✓", "✗"))
    assert not is_block_current(path, BLOCK)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# Zoo\n",
        f"{BEGIN}\n",
        f"{END}\n",
        f"{END}\n{BEGIN}\n",
        f"{BEGIN}\n{BEGIN}\n{END}\n",
        f"{BEGIN}\n{END}\n{END}\n",
        f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n",
        f"{BEGIN.upper()}\n{END}\n",
    ],
)
def test_markers_that_are_missing_double_or_turned_are_refused_and_nothing_is_changed(path: Path, text: str) -> None:
    path.write_text(text)
    for job in (is_block_current, write_block):
        with pytest.raises(StaleBlockError) as caught:
            job(path, BLOCK)
        assert caught.value.path == path
        assert BEGIN in caught.value.problem
        assert END in caught.value.problem
    assert path.read_text() == text


def test_a_document_that_is_no_utf_8_is_refused_and_not_changed(path: Path) -> None:
    content = f"caf\xe9 {BEGIN}\n{END}\n".encode("latin-1")
    path.write_bytes(content)
    for job in (is_block_current, write_block):
        with pytest.raises(StaleBlockError, match="UTF-8"):
            job(path, BLOCK)
    assert path.read_bytes() == content


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "folder"])
def test_a_document_that_cannot_be_read_is_named(path: Path, make: object) -> None:
    make(path)  # type: ignore[operator]
    for job in (is_block_current, write_block):
        with pytest.raises(StorageError) as caught:
            job(path, BLOCK)
        assert caught.value.path == path


def test_a_link_to_a_document_stays_a_link_and_the_document_keeps_its_rights(path: Path, tmp_path: Path) -> None:
    document = tmp_path / "docs" / "models.md"
    document.parent.mkdir()
    document.write_text(f"{BEGIN}\n{END}\n")
    document.chmod(0o640)
    path.symlink_to(document)
    write_block(path, BLOCK)
    assert path.is_symlink()
    assert BLOCK in document.read_text()
    assert document.stat().st_mode & 0o777 == 0o640
    assert listing(document.parent) == ["models.md"]


@given(
    before=st.text(max_size=30), between=st.text(max_size=30), after=st.text(max_size=30), block=st.text(max_size=30)
)
def test_any_text_comes_back_with_the_block_alone_replaced(
    tmp_path_factory: pytest.TempPathFactory, before: str, between: str, after: str, block: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "README.md"
    path.write_bytes(f"{before}{BEGIN}{between}{END}{after}".encode())
    write_block(path, block)
    assert is_block_current(path, block)
    found = path.read_bytes().decode()
    assert found.startswith(before + BEGIN)
    assert found.endswith(END + after)
