"""Writing digests into a zoo file's text without any other change."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.errors import ManifestError
from bdd100k_zoo.registry import ARTIFACT_KINDS, load_zoo
from bdd100k_zoo.registry.editing import insert_digests
from bdd100k_zoo.registry.loading import builtin_zoo_file
from bdd100k_zoo.registry.models import DigestAndSize

FILE = Path("mine.yaml")
SHA = "sha256:" + "0123456789abcdef" * 4
OTHER = "md5:" + "f" * 32
KNOWN = DigestAndSize(SHA, 1234)
OTHERS = ARTIFACT_KINDS[1:]

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


def test_weights_of_an_address_alone_become_a_mapping() -> None:
    text = "models:\n  - name: first\n    weights: run/best.pth  # mine\n    config: x.py\n"
    after = edited(text, {"first": {"weights": KNOWN}})
    mapping = f'{{address: "run/best.pth", digest: {SHA}, size: 1234}}'
    assert after == text.replace("run/best.pth", mapping)


def test_fields_that_weights_lack_are_added() -> None:
    text = "models:\n  - name: first\n    weights:\n      address: run/best.pth  # mine\n    config: x.py\n"
    after = edited(text, {"first": {"weights": KNOWN}})
    assert after == text.replace("# mine\n", f"# mine\n      digest: {SHA}\n      size: 1234\n")
    text = text.replace("# mine\n", f"# mine\n      digest: {SHA}\n")
    assert edited(text, {"first": {"weights": KNOWN}}) == after


def test_other_files_come_as_the_last_field_before_the_comments_that_follow() -> None:
    after = edited(TEXT, {"first": {"preds": KNOWN, "scores-val": KNOWN}})
    assert after == TEXT.replace(
        "scores_test: null   # none\n",
        "scores_test: null   # none\n    digests:\n"
        f"      preds: {{digest: {SHA}, size: 1234}}\n"
        f"      scores-val: {{digest: {SHA}, size: 1234}}\n",
    )


def test_the_last_model_of_a_file_without_a_last_line_end_gets_its_field() -> None:
    text = TEXT.rstrip("\n")
    after = edited(text, {"second": {"visuals": KNOWN}})
    assert after == f"{text}\n    digests:\n      visuals: {{digest: {SHA}, size: 1234}}\n"


def test_digests_are_added_to_an_existing_field() -> None:
    field = f"    digests:\n      preds: {{digest: {OTHER}, size: 7}}  # seen\n"
    text = TEXT.replace("    scores_test", field + "    scores_test")
    after = edited(text, {"first": {"preds": KNOWN, "visuals": KNOWN}})
    assert after == text.replace("# seen\n", f"# seen\n      visuals: {{digest: {SHA}, size: 1234}}\n")


def test_what_is_recorded_stays_and_what_is_missing_beside_it_is_filled_in() -> None:
    text = TEXT.replace("digest: null  #", f"digest: {OTHER}  #")
    text += "    digests:\n      preds:\n        digest: null\n        size: 9\n"
    after = edited(text, {"first": {"weights": KNOWN}, "second": {"preds": KNOWN}})
    assert after == text.replace("size: ~", "size: 1234").replace("        digest: null", f"        digest: {SHA}")


def test_a_value_that_is_left_out_is_written_behind_its_colon() -> None:
    text = TEXT.replace("digest: null  #", "digest:  #").replace("size: ~", "size:")
    after = edited(text, {"first": {"weights": KNOWN}})
    assert after == text.replace("digest:  #", f"digest: {SHA}  #").replace("size:\n", "size: 1234\n", 1)


def test_a_file_of_windows_keeps_its_line_ends() -> None:
    text = TEXT.replace("\n", "\r\n")
    after = edited(text, {"first": {"weights": KNOWN, "preds": KNOWN}})
    assert after.count("\n") == after.count("\r\n") == text.count("\n") + 2


@pytest.mark.parametrize("layout", ["digests: {}", "digests: {preds: {digest: null, size: null}}"])
def test_digests_are_not_added_to_braces(layout: str) -> None:
    with pytest.raises(ManifestError, match="write them by hand"):
        edited(TEXT + f"    {layout}\n", {"second": {"visuals": KNOWN}})


def test_text_that_keeps_its_blank_lines_keeps_them() -> None:
    text = TEXT + "    backbone: |+\n      R-50\n\n\n"
    after = edited(text, {"second": {"preds": KNOWN}})
    assert after == f"{text}    digests:\n      preds: {{digest: {SHA}, size: 1234}}\n"


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
    assert len([line for line in changed if line[0] == "+"]) == len(models) * (2 + 1 + 4)
    assert {line for line in changed if line[0] == "-"} <= {"-       digest: null\n", "-       size: null\n"}
    assert insert_digests(builtin_zoo_file(), after, known) == after


comments = st.sampled_from(["", "  # seen", " # a: b, {c}"])
nulls = st.sampled_from(["null", "~", "", "Null"])


seen = "{0}: {{digest: {1}, size: 5}}"
recorded = st.sampled_from([seen.format("preds", OTHER), seen.format("visuals", OTHER)])
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
        text += f"\n{inner}digests:\n{inner}  {draw(recorded)}"
    return text + draw(between).format(inner)


@st.composite
def zoo_texts(draw: st.DrawFn) -> str:
    """Zoo files of one to three models."""
    indent = " " * draw(st.integers(0, 4))
    models = [draw(model_texts(f"m{number}", indent)) for number in range(draw(st.integers(1, 3)))]
    text = "\n".join(["models:" + draw(comments), *models]) + draw(st.sampled_from(["", "\n", "\n\n\n"]))
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@given(text=zoo_texts(), whats=st.lists(st.sampled_from(ARTIFACT_KINDS), unique=True), number=st.integers(0, 2))
def test_whatever_the_layout_the_digests_are_added_and_every_other_line_stays(
    text: str, whats: list[Any], number: int
) -> None:
    known = {f"m{number}": dict.fromkeys(whats, KNOWN)}
    before, after = yaml.safe_load(text), edited(text, known)
    expected = yaml.safe_load(after)
    for model in expected["models"]:
        for what in known.get(model["name"], {}):
            place = model["weights"] if what == "weights" else model["digests"][what]
            assert place in ({"digest": SHA, "size": 1234}, {"digest": OTHER, "size": 5})
    assert edited(after, known) == after
    assert len(before["models"]) == len(expected["models"])
    touched = [line for line in changed_lines(text, after) if line.startswith("-")]
    assert all("digest" in line or "size" in line or not line.endswith("\n") for line in touched)
