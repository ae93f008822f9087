from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.registry.overrides import apply_overrides, parse_overrides

DICT_ACTION_VALUES = [
    "50", "-3", "0.05", "1e-3", "inf", "true", "False", "None", "nms", "soft_nms", "1_000", "007", "''", "'5'", "",
    "[1,2,3]", "(1280,720)", "1,2,3", "[(1280,600),(1280,720)]", "[a,b]", "[]", "()", "(1,)", "a,", "a,,b", ",",
    "[[1,2],[3,(4,5)]]", "data/bdd100k/", "(a", "a)b", "none", "null", "[ 1, 2 ]", '"[1,2]"', "(1)", "[true,None]",
]  # fmt: skip


def value_of(text: str) -> object:
    return parse_overrides([f"key={text}"])["key"]


def dict_action(text: str) -> object:
    config = pytest.importorskip("mmengine.config")
    return config.DictAction._parse_iterable(text)


@pytest.mark.parametrize("text", DICT_ACTION_VALUES)
def test_a_value_is_read_as_mmengine_reads_it(text: str) -> None:
    assert repr(value_of(text)) == repr(dict_action(text))


SCALARS = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False).map(str),
    st.sampled_from(["true", "false", "None", "True", "car", "SGD", "x.y"]),
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4).flatmap(
        lambda items: st.sampled_from([f"[{','.join(items)}]", f"({','.join(items)})"])
    ),
    max_leaves=12,
)


@given(NESTED)
def test_nested_values_are_read_as_mmengine_reads_them(text: str) -> None:
    assert repr(value_of(text)) == repr(dict_action(text))


def test_spaces_inside_text_are_kept() -> None:
    assert value_of("[traffic light, traffic sign]") == ["traffic light", "traffic sign"]


def test_bracketed_values_side_by_side_are_a_list() -> None:
    assert value_of("(1,2),(3,4)") == [(1, 2), (3, 4)]


def test_only_the_first_equals_sign_separates() -> None:
    assert parse_overrides(["load_from=a=b", "log_level=DEBUG"]) == {"load_from": "a=b", "log_level": "DEBUG"}


def test_of_equal_keys_the_last_wins() -> None:
    assert parse_overrides(["a.b=1", "a.b=2"]) == {"a.b": 2}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model.test_cfg", "found no `=`"),
        ("=5", "found ''"),
        ("model..x=5", "found 'model..x'"),
        ("scale=[1,2", "'scale' cannot be read: brackets do not match"),
        ("scale=(1,2),3)", "brackets do not match"),
        ("scale=[(1,2])", "brackets do not match"),
        ("nms={'type'", "expected a dict"),
        ("nms={1: 2}", "names as keys"),
        ("nms={open('x')}", "expected a dict"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides([text])
    assert repr(text) in str(caught.value)
    assert found in str(caught.value)


def applied(settings: dict[str, Any], *texts: str) -> dict[str, Any]:
    apply_overrides("x.py", settings, parse_overrides(texts))
    return settings


def test_values_are_set_in_dicts_and_lists_and_missing_names_are_made() -> None:
    settings = {"model": {"heads": [{"classes": 80}, {"classes": 80}], "nms": {"type": "nms"}}}
    applied(settings, "model.heads.1.classes=10", "model.nms.type=soft_nms", "model.train.rpn.pos=0.5", "seed=1")
    assert settings == {
        "model": {
            "heads": [{"classes": 80}, {"classes": 10}],
            "nms": {"type": "soft_nms"},
            "train": {"rpn": {"pos": 0.5}},
        },
        "seed": 1,
    }


def test_an_element_of_a_list_can_be_replaced() -> None:
    assert applied({"heights": [1, 2]}, "heights.0=7") == {"heights": [7, 2]}


def test_a_dict_is_merged_unless_it_says_delete() -> None:
    nms = {"nms": {"type": "nms", "iou_threshold": 0.5}}
    assert applied({"a": dict(nms)}, "a={'nms': {'iou_threshold': 0.6}}")["a"]["nms"] == {
        "type": "nms",
        "iou_threshold": 0.6,
    }
    assert applied({"a": dict(nms)}, "a={'nms': {'_delete_': True, 'type': 'soft_nms'}}") == {
        "a": {"nms": {"type": "soft_nms"}}
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model.number.x=1", "'model.number' is the int 5"),
        ("model.nothing.x=1", "'model.nothing' is None"),
        ("model.heads.2.x=1", "'model.heads' is a list of 2, which has no index '2'"),
        ("model.heads.-1=1", "'model.heads' is a list of 2, which has no index '-1'"),
        ("model.heads.first=1", "no index 'first'"),
        ("model.heads=5 model.heads.0=1", "'model.heads' is the int 5"),
        ("model.0.x=1", "'model' is a dict of 4, which has no index '0'"),
        ("model.pair.0=1", "'model.pair' is the tuple (1, 2), which has no part '0'"),
    ],
)
def test_a_key_that_leads_nowhere_is_an_error_with_the_value_found(text: str, found: str) -> None:
    settings = {"model": {"number": 5, "nothing": None, "heads": [{}, {}], "pair": (1, 2)}}
    with pytest.raises(ConfigError) as caught:
        applied(settings, *text.split())
    assert str(caught.value).startswith("x.py: the override of 'model.")
    assert found in str(caught.value)


def test_reading_overrides_imports_neither_torch_nor_numpy_nor_mmengine() -> None:
    code = (
        "import sys; from bdd100k_zoo.registry.overrides import parse_overrides; parse_overrides(['a.b=[1,2]']);"
        "print([name for name in ('torch', 'numpy', 'mmengine', 'mmdet') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
