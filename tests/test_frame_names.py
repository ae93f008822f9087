"""Frame names: only those that stay inside their folder, on any system."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bdd100k_zoo.errors import FrameNameError
from bdd100k_zoo.files import check_frame_name


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
def test_a_relative_name_is_given_back(name: str) -> None:
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
def test_a_name_that_leaves_its_folder_or_is_no_plain_text_is_refused(name: str) -> None:
    with pytest.raises(FrameNameError) as caught:
        check_frame_name(name)
    assert caught.value.name == name
    assert str(caught.value).isprintable()


@given(st.text(alphabet=st.sampled_from("./\\:aC~\0é -\n"), max_size=12))
@example("a/./..")
@example("a/..\n")
def test_what_passes_stays_inside_its_folder(name: str) -> None:
    try:
        check_frame_name(name)
    except FrameNameError:
        return
    for kind, folder in ((PurePosixPath, "/data/images"), (PureWindowsPath, "C:\\data\\images")):
        joined = kind(folder) / name
        assert joined.is_relative_to(folder)
        assert ".." not in joined.parts
    assert "\0" not in name
