"""Writing digests into a zoo file's text without any other change."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from bdd100k_zoo.errors import ManifestError
from bdd100k_zoo.registry import ARTIFACT_KINDS, load_zoo
from bdd100k_zoo.registry.editing import insert_digests
from bdd100k_zoo.registry.loading import builtin_zoo_file
from bdd100k_zoo.registry.models import ARTIFACT_FIELDS, DigestAndSize

FILE = Path("mine.yaml")
SHA = "sha256:" + "0123456789abcdef" * 4
OTHER = "md5:" + "f" * 32
KNOWN = DigestAndSize(SHA, 1234)

TEXT = """\
# The models of this house.
models:
  - name: first   # the first
    weights:
      address: https://a.example/x.pth
      alternates: []
      digest: null  # unknown
      size: ~
    scores_test: null   # none

  # A heading between the two.
  - name: second
    weights: {address: "https://b.example/y.pth", alternates: [], digest: null, size: null}
    visuals: null
"""


def edited(text: str, known: dict[str, dict[Any, DigestAndSize]]) -> str:
    return insert_digests(FILE, text, known)


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    return [line for line in lines if line[0] in "+-"]


def test_nulls_are_replaced_and_comments_stay() -> None:
    after = edited(TEXT, {"first": {"weights": KNOWN}})
    assert after == TEXT.replace("digest: null  #", f"digest: {SHA}  #").replace("size: ~", "size: 1234")


def test_values_in_braces_are_replaced_too() -> None:
    after = edited(TEXT, {"second": {"weights": KNOWN}})
    assert after == TEXT.replace("digest: null, size: null}", f"digest: {SHA}, size: 1234}}")


def test_files_of_an_address_alone_become_a_mapping() -> None:
    text = "models:\n  - name: first\n    weights: run/best.pth  # mine\n    predictions: p.json\n    config: x.py\n"
    after = edited(text, {"first": {"weights": KNOWN, "preds": KNOWN}})
    expected = text.replace("run/best.pth", f'{{address: "run/best.pth", digest: {SHA}, size: 1234}}')
    assert after == expected.replace("p.json", f'{{address: "p.json", digest: {SHA}, size: 1234}}')


def test_a_model_of_which_nothing_is_known_keeps_its_address_alone() -> None:
    text = TEXT + "  - name: third\n    weights: run/best.pth\n"
    assert edited(text, {"first": {"weights": KNOWN}}).endswith("    weights: run/best.pth\n")


def test_fields_that_weights_lack_are_added() -> None:
    text = "models:\n  - name: first\n    weights:\n      address: run/best.pth  # mine\n    config: x.py\n"
    after = edited(text, {"first": {"weights": KNOWN}})
    assert after == text.replace("# mine\n", f"# mine\n      digest: {SHA}\n      size: 1234\n")
    text = text.replace("# mine\n", f"# mine\n      digest: {SHA}\n")
    assert edited(text, {"first": {"weights": KNOWN}}) == after


def test_files_that_are_published_nowhere_and_those_that_a_model_lacks_get_a_mapping() -> None:
    after = edited(TEXT, {"first": {"preds": KNOWN, "scores-test": KNOWN}})
    mapping = f"{{digest: {SHA}, size: 1234}}"
    assert after == TEXT.replace(
        "scores_test: null   # none\n", f"scores_test: {mapping}   # none\n    predictions: {mapping}\n"
    )


def test_the_last_model_of_a_file_without_a_last_line_end_gets_its_field() -> None:
    text = TEXT.rstrip("\n")
    after = edited(text, {"second": {"preds": KNOWN}})
    assert after == f"{text}\n    predictions: {{digest: {SHA}, size: 1234}}\n"


def test_what_is_recorded_stays_and_what_is_missing_beside_it_is_filled_in() -> None:
    text = TEXT.replace("digest: null  #", f"digest: {OTHER}  #")
    text += "    predictions:\n      digest: null\n      size: 9\n"
    after = edited(text, {"first": {"weights": KNOWN}, "second": {"preds": KNOWN}})
    expected = text.replace("size: ~", "size: 1234").replace(
        "      digest: null\n      size: 9", f"      digest: {SHA}\n      size: 9"
    )
    assert after == expected


def test_a_value_that_is_left_out_is_written_behind_its_colon() -> None:
    text = TEXT.replace("digest: null  #", "digest:  #").replace("size: ~", "size:")
    after = edited(text, {"first": {"weights": KNOWN}})
    assert after == text.replace("digest:  #", f"digest: {SHA}  #").replace("size:\n", "size: 1234\n", 1)


def test_a_file_of_windows_keeps_its_line_ends() -> None:
    text = TEXT.replace("\n", "\r\n")
    after = edited(text, {"first": {"weights": KNOWN, "preds": KNOWN}})
    assert after.count("\n") == after.count("\r\n") == text.count("\n") + 1


def test_digests_are_not_added_to_braces_that_lack_them() -> None:
    text = TEXT.replace("visuals: null", 'visuals: {address: "https://b.example/y.zip"}')
    with pytest.raises(ManifestError, match="write them by hand"):
        edited(text, {"second": {"visuals": KNOWN}})


def test_text_that_keeps_its_blank_lines_keeps_them() -> None:
    text = TEXT + "    backbone: |+\n      R-50\n\n\n"
    after = edited(text, {"second": {"preds": KNOWN}})
    assert after == f"{text}    predictions: {{digest: {SHA}, size: 1234}}\n"


def test_a_layout_that_cannot_be_edited_is_refused() -> None:
    text = "models:\n  - ? name\n    : odd\n    ? weights\n    : {digest: null, size: null}\n"
    assert SHA in edited(text, {"odd": {"weights": KNOWN}})
    with pytest.raises(ManifestError, match="write them by hand"):
        edited(text, {"odd": {"preds": KNOWN}})


def test_nothing_to_write_changes_nothing() -> None:
    assert edited(TEXT, {}) == edited(TEXT, {"third": {"weights": KNOWN}}) == TEXT


def test_the_built_in_zoo_takes_every_digest_and_only_the_lines_of_digests_change(tmp_path: Path) -> None:
    text = builtin_zoo_file().read_text(encoding="utf-8")
    models = load_zoo().models
    known = {model.name: dict.fromkeys(ARTIFACT_KINDS, KNOWN) for model in models}
    after = insert_digests(builtin_zoo_file(), text, known)
    changed = changed_lines(text, after)
    assert len([line for line in changed if line[0] == "+"]) == len(models) * 2 * len(ARTIFACT_KINDS)
    assert {line for line in changed if line[0] == "-"} <= {"-       digest: null\n", "-       size: null\n"}
    assert insert_digests(builtin_zoo_file(), after, known) == after


comments = st.sampled_from(["", "  # seen", " # a: b, {c}"])
nulls = st.sampled_from(["null", "~", "", "Null"])


seen = "{0}: {{digest: {1}, size: 5}}"
recorded = st.sampled_from([seen.format("predictions", OTHER), seen.format("visuals", OTHER), "visuals:"])
between = st.sampled_from(["", "\n{0}aliases: []", "\n\n# between\n{0}note:\n{0}  - a: 1"])


@st.composite
def model_texts(draw: st.DrawFn, name: str, indent: str) -> str:
    """One model of a zoo file, laid out in one of many ways; ``indent`` is that of its dash."""
    inner = indent + "  "
    digest, size = draw(nulls), draw(nulls)
    text = f"{indent}- name: {name}\n{inner}weights:"
    if draw(st.booleans()):
        text += f" {{digest: {digest or 'null'}, size: {size or 'null'}}}{draw(comments)}"
    else:
        deeper = inner + " " * draw(st.integers(1, 4))
        text += f"\n{deeper}digest: {digest}{draw(comments)}\n{deeper}size: {size}{draw(comments)}"
    if draw(st.booleans()):
        text += f"\n{inner}{draw(recorded)}"
    return text + draw(between).format(inner)


@st.composite
def zoo_texts(draw: st.DrawFn) -> str:
    """Zoo files of one to three models."""
    indent = " " * draw(st.integers(0, 4))
    models = [draw(model_texts(f"m{number}", indent)) for number in range(draw(st.integers(1, 3)))]
    text = "\n".join(["models:" + draw(comments), *models]) + draw(st.sampled_from(["", "\n", "\n\n\n"]))
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


EMPTY_AT_THE_END = "models:\n- name: m0\n  weights: {digest: null, size: null}\n  visuals:"


@example(text=EMPTY_AT_THE_END, whats=["weights", "preds", "visuals"], number=0)
@given(text=zoo_texts(), whats=st.lists(st.sampled_from(ARTIFACT_KINDS), unique=True), number=st.integers(0, 2))
def test_whatever_the_layout_the_digests_are_added_and_every_other_line_stays(
    text: str, whats: list[Any], number: int
) -> None:
    known = {f"m{number}": dict.fromkeys(whats, KNOWN)}
    before, after = yaml.safe_load(text), edited(text, known)
    expected = yaml.safe_load(after)
    for model in expected["models"]:
        for what in known.get(model["name"], {}):
            place = model[ARTIFACT_FIELDS[what]]
            assert place in ({"digest": SHA, "size": 1234}, {"digest": OTHER, "size": 5})
    assert edited(after, known) == after
    assert len(before["models"]) == len(expected["models"])
    touched = [line for line in changed_lines(text, after) if line.startswith("-")]
    words = ("digest", "size", "visuals")
    assert all(any(word in line for word in words) or not line.endswith("\n") for line in touched)
