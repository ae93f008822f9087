"""A user's zoo files: what they add, and errors with file, entry and field."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from zoo_entries import FAMILY, MODEL

from bdd100k_zoo.errors import ManifestError
from bdd100k_zoo.registry import ARTIFACT_KINDS, load_zoo, loading
from bdd100k_zoo.registry.editing import insert_digests
from bdd100k_zoo.registry.loading import builtin_zoo_file
from bdd100k_zoo.registry.models import OTHER_FAMILY, DigestAndSize, UserDigest, Weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.registry import ArtifactKind

    Document = dict[str, Any]
    Write = Callable[..., Path]

REMOVED = object()
MD5 = "md5:" + "0123456789abcdef" * 2
SHA256 = "sha256:" + "0123456789abcdef" * 4
KNOWN: dict[str, Any] = {"digest": MD5, "size": 12}
ENTRY = "models: night_net_r50_1x"
VISUALS: dict[str, Any] = {"address": "https://far.example/v.zip"}


def put(document: Document, path: str, value: object) -> None:
    """Set or remove the value at a path such as ``models.0.weights.size``."""
    *parents, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    at: Any = document
    for part in parents:
        at = at[part]
    if value is REMOVED:
        del at[last]
    else:
        at[last] = value


def refusal(file: Path) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        load_zoo(file)
    assert caught.value.file == file
    assert str(caught.value).startswith(f"{file}: ")
    return caught.value


def test_a_users_file_adds_its_family_and_model_after_the_built_in_ones(document: Document, write: Write) -> None:
    file = write(document)
    zoo = load_zoo(file)
    assert len(zoo.models) == 65
    assert len(zoo.families) == len(load_zoo().families) + 1
    assert zoo.files == (builtin_zoo_file(), file)
    assert zoo.models[-1] is zoo["night_net_r50_1x"] is zoo["dusk_net_r50_1x"]
    assert zoo.family("Night Net") is zoo.families[-1]
    assert [author.page for author in zoo.families[-1].authors] == [None, "http://bo.example/"]


def test_a_users_config_lies_beside_the_users_file_wherever_the_command_runs(
    document: Document, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(document)
    monkeypatch.chdir(file.parent)
    model = load_zoo("mine.yaml")["night_net_r50_1x"]
    assert model.config_path == file.parent / "configs" / "night_net.py"
    assert model.zoo_file == file


def test_a_config_of_the_package_is_not_found_by_its_bare_name_in_a_users_file(
    document: Document, write: Write
) -> None:
    put(document, "models.0.config", "fcos_r50_fpn_1x_det_bdd100k.py")
    assert refusal(write(document)).field == "config"


def test_a_model_may_join_a_built_in_family(document: Document, write: Write) -> None:
    del document["families"]
    put(document, "models.0.family", "fcos")
    zoo = load_zoo(write(document))
    assert zoo["night_net_r50_1x"].family == "fcos"
    assert len(zoo.families) == 15


@pytest.mark.parametrize("text", ["models: []\n", "models:\n", "families: []\n", "families:\nmodels:\n"])
def test_a_file_may_add_nothing(write: Write, text: str) -> None:
    assert load_zoo(write(text)).models == load_zoo().models


def test_the_environment_names_files_in_order_and_the_caller_adds_more(
    document: Document, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(document)
    files = [first]
    for number in (2, 3):
        put(document, "models.0.name", f"night_net_{number}")
        put(document, "models.0.aliases", [])
        files.append(write({"models": document["models"]}, f"{number}.yaml"))
    monkeypatch.setenv("BDD100K_ZOO_FILES", os.pathsep.join(["", str(files[0]), str(files[1]), ""]))
    zoo = load_zoo(files[2])
    assert zoo.files == (builtin_zoo_file(), *files)
    assert [model.name for model in zoo.models[64:]] == ["night_net_r50_1x", "night_net_2", "night_net_3"]


def test_a_file_that_is_named_twice_is_read_once(
    document: Document, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(document)
    monkeypatch.setenv("BDD100K_ZOO_FILES", str(file))
    assert len(load_zoo(file, file.parent / ".." / file.parent.name / file.name).models) == 65


def test_a_tilde_means_the_home_folder(document: Document, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(write(document).parent))
    assert len(load_zoo("~/mine.yaml").models) == 65


@pytest.mark.parametrize(
    ("path", "value", "entry", "field"),
    [
        ("models.0.colour", "red", "models: night_net_r50_1x", "colour"),
        ("models.0.weights.mirror", "x", "models: night_net_r50_1x", "weights.mirror"),
        ("families.0.year", 2030, "families: night_net", "year"),
        ("families.0.paper.pages", 9, "families: night_net", "paper.pages"),
        ("models.0.name", REMOVED, "entry 1 of models", "name"),
        ("families.0.name", REMOVED, "entry 1 of families", "name"),
        ("models.0.name", None, "entry 1 of models", "name"),
        ("models.0.name", 7, "entry 1 of models", "name"),
        ("models.0.name", "", "entry 1 of models", "name"),
        ("models.0.name", "Night-Net", "models: Night-Net", "name"),
        ("models.0.name", "../night", "models: ../night", "name"),
        ("models.0.name", "night\n", "models: night\n", "name"),
        ("models.0.aliases", ["ok", "Not Ok"], "models: night_net_r50_1x", "aliases"),
        ("models.0.aliases", None, "models: night_net_r50_1x", "aliases"),
        ("models.0.aliases", "dusk", "models: night_net_r50_1x", "aliases"),
        ("models.0.aliases", [3], "models: night_net_r50_1x", "aliases[0]"),
        ("families.0.name", "night net", "families: night net", "name"),
        ("families.0.title", "", "families: night_net", "title"),
        ("families.0.title", "Night\nNet", "families: night_net", "title"),
        ("families.0.paper", "Seeing after dusk", "families: night_net", "paper"),
        ("models.0.family", "day_net", "models: night_net_r50_1x", "family"),
        ("models.0.family", "Night Net", "models: night_net_r50_1x", "family"),
        ("models.0.backbone", " ", "models: night_net_r50_1x", "backbone"),
        ("models.0.backbone", "R-50\x1b[2J", "models: night_net_r50_1x", "backbone"),
        ("models.0.schedule", "three", "models: night_net_r50_1x", "schedule"),
        ("models.0.schedule", "x", "models: night_net_r50_1x", "schedule"),
        ("models.0.schedule", "", "models: night_net_r50_1x", "schedule"),
        ("models.0.schedule", 1, "models: night_net_r50_1x", "schedule"),
        ("models.0.multi_scale_training", "yes", "models: night_net_r50_1x", "multi_scale_training"),
        ("models.0.ap_val", 100.01, "models: night_net_r50_1x", "ap_val"),
        ("models.0.ap_val", -0.01, "models: night_net_r50_1x", "ap_val"),
        ("models.0.ap_val", float("nan"), "models: night_net_r50_1x", "ap_val"),
        ("models.0.ap_test", float("inf"), "models: night_net_r50_1x", "ap_test"),
        ("models.0.ap_val", "31.04", "models: night_net_r50_1x", "ap_val"),
        ("models.0.ap_val", True, "models: night_net_r50_1x", "ap_val"),
        ("models.0.parameters", 0, "models: night_net_r50_1x", "parameters"),
        ("models.0.parameters", "41M", "models: night_net_r50_1x", "parameters"),
        ("models.0.weights.license", "", "models: night_net_r50_1x", "weights.license"),
        ("models.0.weights.license", "MIT\nor not", "models: night_net_r50_1x", "weights.license"),
        ("models.0.config", "configs/missing.py", "models: night_net_r50_1x", "config"),
        ("models.0.config", "configs", "models: night_net_r50_1x", "config"),
        ("models.0.config", "", "models: night_net_r50_1x", "config"),
        ("models.0.config", "a\0b.py", "models: night_net_r50_1x", "config"),
        ("models.0.config", "x" * 5000, "models: night_net_r50_1x", "config"),
        ("models.0.config", None, "models: night_net_r50_1x", "config"),
        ("models.0.weights", None, "models: night_net_r50_1x", "weights"),
        ("models.0.weights.address", None, "models: night_net_r50_1x", "weights.address"),
        ("models.0.weights.address", "far.example/n.pth", "models: night_net_r50_1x", "weights.address"),
        ("models.0.weights", "far.example/n.pth", "models: night_net_r50_1x", "weights.address"),
        ("models.0.weights", REMOVED, "models: night_net_r50_1x", "weights"),
        ("models.0.weights.address", REMOVED, "models: night_net_r50_1x", "weights.address"),
        ("models.0.weights.address", "ftp://far.example/n.pth", "models: night_net_r50_1x", "weights.address"),
        ("models.0.weights.address", "file://night.pth", "models: night_net_r50_1x", "weights.address"),
        ("models.0.weights.address", "file:///~/night.pth", "models: night_net_r50_1x", "weights.address"),
        ("models.0.weights.address", "file:///a/../night.pth", "models: night_net_r50_1x", "weights.address"),
        ("models.0.weights.address", "file:///a b.pth", "models: night_net_r50_1x", "weights.address"),
        ("models.0.weights.address", "hf://night", "models: night_net_r50_1x", "weights.address"),
        ("models.0.weights.address", "hf://night/net", "models: night_net_r50_1x", "weights.address"),
        ("models.0.config", REMOVED, "models: night_net_r50_1x", "config"),
        (
            "models.0.weights.alternates",
            ["https://ok.example/", "https://"],
            "models: night_net_r50_1x",
            "weights.alternates",
        ),
        ("models.0.weights.size", 0, "models: night_net_r50_1x", "weights.size"),
        ("models.0.weights.size", 1.5, "models: night_net_r50_1x", "weights.size"),
        ("models.0.weights.digest", "md5:123", "models: night_net_r50_1x", "weights.digest"),
        ("models.0.weights.digest", MD5[4:], "models: night_net_r50_1x", "weights.digest"),
        ("models.0.weights.digest", MD5.upper(), "models: night_net_r50_1x", "weights.digest"),
        ("models.0.weights.digest", MD5 + "\n", "models: night_net_r50_1x", "weights.digest"),
        ("models.0.weights.digest", SHA256.replace("sha256", "sha1"), "models: night_net_r50_1x", "weights.digest"),
        ("models.0.digests", {}, ENTRY, "digests"),
        ("models.0.alternates", {}, ENTRY, "alternates"),
        ("models.0.predictions", {"by": "me"}, ENTRY, "predictions.by"),
        ("models.0.predictions", {"license": "MIT"}, ENTRY, "predictions.license"),
        ("models.0.predictions", KNOWN | {"size": 0}, ENTRY, "predictions.size"),
        ("models.0.scores_test", KNOWN | {"digest": "md5:12"}, ENTRY, "scores_test.digest"),
        ("models.0.md5", {"alternates": ["https://far.example/x"]}, ENTRY, "md5.alternates"),
        (
            "models.0.md5",
            {"address": "https://far.example/x", "alternates": "y"},
            ENTRY,
            "md5.alternates",
        ),
        (
            "models.0.visuals",
            VISUALS | {"alternates": ["far.example/x"]},
            ENTRY,
            "visuals.alternates",
        ),
        (
            "models.0.md5",
            VISUALS | {"alternates": ["http://far.example/x"]},
            ENTRY,
            "md5.alternates",
        ),
        ("models.0.md5", "https://far.example/a b.md5", ENTRY, "md5.address"),
        ("models.0.predictions", "ftp://far.example/p.json", ENTRY, "predictions.address"),
        ("models.0.visuals", "https://[half/v.zip", ENTRY, "visuals.address"),
        ("models.0.scores_val", "https://far.example:99999/", ENTRY, "scores_val.address"),
        ("models.0.scores_test", "", ENTRY, "scores_test.address"),
        ("models.0.published", "last year", ENTRY, "published"),
        ("models.0.published", 2021, ENTRY, "published"),
        ("families.0.paper.address", "arxiv:1506.01497", "families: night_net", "paper.address"),
        ("families.0.code", "github.com/x", "families: night_net", "code"),
        ("families.0.authors.0.page", "javascript:alert(1)", "families: night_net", "authors: Ada: page"),
    ],
)
def test_one_wrong_value_is_refused_with_file_entry_and_field(
    document: Document, write: Write, path: str, value: object, entry: str, field: str
) -> None:
    put(document, path, value)
    error = refusal(write(document))
    assert (error.entry, error.field) == (entry, field)
    assert error.problem


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("models.0.ap_val", 0),
        ("models.0.ap_val", 100),
        ("models.0.ap_val", None),
        ("models.0.schedule", "12x"),
        ("models.0.weights.size", 1),
        ("models.0.weights.digest", MD5),
        ("models.0.weights.digest", SHA256),
        ("models.0.aliases", []),
        ("models.0.schedule", None),
        ("models.0.backbone", None),
        ("models.0.multi_scale_training", None),
        ("models.0.parameters", 1),
        ("models.0.weights", "https://far.example/n.pth"),
        ("models.0.weights.address", "file:///nowhere/a%20b.pth"),
        ("models.0.weights.address", "hf://night/net@main/folder/night.pth"),
        ("models.0.weights.license", "CC BY-NC 4.0"),
        ("models.0.predictions", {"address": None, "alternates": [], "digest": None, "size": None}),
        ("models.0.scores_val", KNOWN),
        ("models.0.visuals", {}),
        ("models.0.published", "2030-12-31"),
        ("models.0.published", None),
        ("models.0.scores_val", "https://far.example:8443/s.json?a=b&c=(d)#e"),
        ("families.0.note", "two\nlines"),
        ("families.0.authors", []),
    ],
)
def test_values_at_the_limit_are_accepted(document: Document, write: Write, path: str, value: object) -> None:
    put(document, path, value)
    assert len(load_zoo(write(document)).models) == 65


@pytest.mark.parametrize("field", [field for field in MODEL if field not in ("name", "config", "weights")])
def test_a_users_model_may_lack_every_other_field(document: Document, write: Write, field: str) -> None:
    put(document, f"models.0.{field}", REMOVED)
    assert load_zoo(write(document)).models[-1].name == MODEL["name"]


@pytest.mark.parametrize("field", [field for field in FAMILY if field != "name"])
def test_a_users_family_may_lack_everything_but_its_name(document: Document, write: Write, field: str) -> None:
    put(document, f"families.0.{field}", REMOVED)
    family = load_zoo(write(document)).family("night_net")
    assert family.title == ("night_net" if field == "title" else "Night Net")


MINIMAL = {"name": "night", "config": "configs/night_net.py", "weights": "https://far.example/n.pth"}


def test_a_model_of_three_fields_is_in_a_family_of_its_kind(write: Write) -> None:
    zoo = load_zoo(write({"models": [MINIMAL, MINIMAL | {"name": "dusk"}]}))
    assert [model.name for model in zoo.models[-2:]] == ["night", "dusk"]
    assert zoo["dusk"].family_record is zoo.families[-1] is OTHER_FAMILY
    assert len(zoo.families) == len(load_zoo().families) + 1
    model = zoo["night"]
    assert model.weights == Weights("https://far.example/n.pth")
    assert (model.backbone, model.schedule, model.ap_val, model.parameters) == (None, None, None, None)
    assert model.artifact("preds").addresses == ()


def test_two_files_share_the_family_of_models_without_one(write: Write) -> None:
    files = [write({"models": [MINIMAL | {"name": name}]}, f"{name}.yaml") for name in ("night", "dusk")]
    assert load_zoo(*files).families.count(OTHER_FAMILY) == 1


@pytest.mark.parametrize("field", ["weights", "predictions", "visuals", "scores_val", "scores_test", "md5"])
def test_a_path_is_relative_to_the_zoo_file(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, field: str
) -> None:
    file = write({"models": [MINIMAL | {field: "run 1/best.pth"}]})
    monkeypatch.chdir(tmp_path)
    assert "there is no file 'run 1/best.pth'" in refusal(file).problem
    (file.parent / "run 1").mkdir()
    path = file.parent / "run 1" / "best.pth"
    path.touch()
    model = load_zoo(file)["night"]
    assert getattr(model, field).address == path.as_uri()


def test_an_absolute_path_and_alternates_may_be_paths_too(write: Write, tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    weights = {"address": "https://far.example/n.pth", "alternates": [str(tmp_path / "a.pth"), "hf://night/net/n.pth"]}
    expected = ("https://far.example/n.pth", (tmp_path / "a.pth").as_uri(), "hf://night/net/n.pth")
    zoo = load_zoo(write({"models": [MINIMAL | {"weights": weights}]}))
    assert zoo["night"].artifact("weights").addresses == expected


ADDRESSES = [
    "models.0.weights.address",
    "models.0.weights.alternates.0",
    "models.0.md5",
    "models.0.predictions",
    "models.0.visuals",
    "models.0.scores_val",
    "models.0.scores_test",
    "families.0.paper.address",
    "families.0.code",
    "families.0.authors.0.page",
]


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize(
    "address",
    [
        "https://me:s3cr3t@far.example/n.pth",
        "https://me:p@s3cr3t@far.example:port:bad/",
        "https://me:a/s3cr3t@far.example/n.pth",
        "https://me:a s3cr3t@far.example/n.pth",
        "https://far.example/n.pth?X-Amz-Signature=s3cr3t",
        "https://far.example/n.pth#access_token=s3cr3t",
        "ftp://me:s3cr3t@far.example/n.pth",
        "me:s3cr3t@far.example/n.pth",
    ],
)
def test_an_address_with_a_password_or_token_is_refused_and_not_shown(
    document: Document, write: Write, path: str, address: str
) -> None:
    document["models"][0]["weights"]["alternates"] = ["https://far.example/n.pth"]
    put(document, path, address)
    if path.endswith("alternates.0"):
        document["models"][0]["weights"]["alternates"] = [address]
    words = str(refusal(write(document)))
    assert "s3cr3t" not in words
    assert "far.example" in words


FETCHED = ["weights", "md5", "predictions", "visuals", "scores_val", "scores_test"]


@pytest.mark.parametrize("field", FETCHED)
def test_plain_http_to_a_far_host_is_refused_where_no_digest_is_known(
    document: Document, write: Write, field: str
) -> None:
    put(document, f"models.0.{field}", "http://far.example/file")
    error = refusal(write(document))
    assert (error.entry, error.field) == ("models: night_net_r50_1x", f"{field}.address")
    assert "http://far.example/file" in error.problem


@pytest.mark.parametrize("field", FETCHED)
@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:80"])
def test_plain_http_to_this_machine_is_accepted(document: Document, write: Write, field: str, host: str) -> None:
    put(document, f"models.0.{field}", f"http://{host}/file")
    assert len(load_zoo(write(document)).models) == 65


@pytest.mark.parametrize("digest", [MD5, SHA256])
def test_plain_http_is_accepted_for_weights_with_a_recorded_digest(
    document: Document, write: Write, digest: str
) -> None:
    put(document, "models.0.weights.digest", digest)
    put(document, "models.0.weights.address", "http://far.example/n.pth")
    put(document, "models.0.weights.alternates", ["http://further.example/n.pth"])
    assert load_zoo(write(document))["night_net_r50_1x"].artifact("weights").addresses == (
        "http://far.example/n.pth",
        "http://further.example/n.pth",
    )


def test_a_digest_of_the_weights_verifies_no_other_file(document: Document, write: Write) -> None:
    put(document, "models.0.weights.digest", MD5)
    put(document, "models.0.predictions", "http://far.example/p.json")
    assert refusal(write(document)).field == "predictions.address"


OTHERS = [
    ("predictions", "preds"),
    ("visuals", "visuals"),
    ("scores_val", "scores-val"),
    ("scores_test", "scores-test"),
]


@pytest.mark.parametrize(("field", "what"), OTHERS)
def test_a_digest_of_another_file_verifies_only_that_file(
    document: Document, write: Write, field: str, what: ArtifactKind
) -> None:
    put(document, f"models.0.{field}", {"address": "http://far.example/file", "digest": SHA256, "size": 12})
    model = load_zoo(write(document))["night_net_r50_1x"]
    assert {each: model.artifact(each)[3:5] for each in ARTIFACT_KINDS} == {
        each: (SHA256, 12) if each == what else (None, None) for each in ARTIFACT_KINDS
    }
    other = next(name for name, kind in OTHERS if kind != what)
    put(document, f"models.0.{other}", "http://far.example/file")
    assert refusal(write(document)).field == f"{other}.address"


def test_plain_http_in_an_alternate_is_refused_too(document: Document, write: Write) -> None:
    put(document, "models.0.weights.alternates", ["http://far.example/n.pth"])
    assert refusal(write(document)).field == "weights.alternates"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("models.0.name", "fcos_r50_fpn_1x", "name"),
        ("models.0.name", "libra_faster_rcnn_r50_fpn_1x", "name"),
        ("models.0.aliases", ["fcos_r50_fpn_1x"], "aliases"),
        ("models.0.aliases", ["faster_rcnn_r50_fpn_dconv_3x"], "aliases"),
    ],
)
def test_a_name_of_the_built_in_zoo_cannot_be_taken(
    document: Document, write: Write, path: str, value: object, field: str
) -> None:
    put(document, path, value)
    error = refusal(write(document))
    assert error.entry == f"models: {document['models'][0]['name']}"
    assert error.field == field
    assert str(builtin_zoo_file()) in error.problem


@pytest.mark.parametrize("aliases", [["night_net_r50_1x"], ["twice", "twice"]])
def test_a_model_cannot_take_one_name_twice(document: Document, write: Write, aliases: list[str]) -> None:
    put(document, "models.0.aliases", aliases)
    assert refusal(write(document)).field == "aliases"


def test_two_models_of_one_file_cannot_share_a_name(document: Document, write: Write) -> None:
    document["models"].append(document["models"][0] | {"aliases": []})
    error = refusal(write(document))
    assert (error.entry, error.field) == ("models: night_net_r50_1x", "name")


def test_two_files_cannot_share_a_name(document: Document, write: Write) -> None:
    first = write(document)
    put(document, "models.0.name", "dusk_net_r50_1x")
    second = write({"models": document["models"]}, "second.yaml")
    with pytest.raises(ManifestError) as caught:
        load_zoo(first, second)
    assert caught.value.file == second
    assert caught.value.field == "name"
    assert str(first) in caught.value.problem


@pytest.mark.parametrize("name", ["fcos", "night_net"])
def test_a_family_name_cannot_be_taken_twice(document: Document, write: Write, name: str) -> None:
    document["families"].append(document["families"][0] | {"name": name})
    error = refusal(write(document))
    assert (error.entry, error.field) == (f"families: {name}", "name")


@pytest.mark.parametrize(
    ("text", "entry", "field"),
    [
        ("", "", ""),
        ("# only a comment\n", "", ""),
        ("null", "", ""),
        ("- models", "", ""),
        ("just text", "", ""),
        ("model: []", "", "model"),
        ("models: []\nnotes: x", "", "notes"),
        ("1: []", "", "1"),
        ("models: 3", "", "models"),
        ("models: {}", "", "models"),
        ("models: ''", "", "models"),
        ("families: {name: x}", "", "families"),
        ("models: [night_net]", "entry 1 of models", ""),
        ("models: [null]", "entry 1 of models", ""),
        ("families: [[]]", "entry 1 of families", ""),
        ("models: [{name: x, 3: 4}]", "models: x", ""),
    ],
)
def test_a_document_of_another_form_is_refused(write: Write, text: str, entry: str, field: str) -> None:
    error = refusal(write(text))
    assert (error.entry, error.field) == (entry, field)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xff\xfe\x00models", id="no UTF-8"),
        pytest.param(b"models: [\xe9]", id="Latin-1"),
        pytest.param(b"models: \0", id="a control character"),
        pytest.param(b"models: [", id="no end"),
        pytest.param(b"models: []\n---\nmodels: []", id="two documents"),
        pytest.param(b"models:\n\t- x", id="a tab"),
        pytest.param(b"models: [2030-99-99]", id="a date that cannot be"),
        pytest.param(b"models: [" + b"9" * 5000 + b"]", id="a number too long"),
        pytest.param(b"? [models]\n: []", id="a list as key"),
        pytest.param(b"? {models: 1}\n: []", id="a mapping as key"),
        pytest.param(b"models: []\nmodels: []", id="a key twice"),
        pytest.param(b"models: [{name: a, name: b}]", id="a key twice in an entry"),
        pytest.param(b"models: [{weights: {size: 1, size: 1}}]", id="a key twice further down"),
        pytest.param(b"models: [{<<: {name: a}}]", id="a merge"),
        pytest.param(b"models: !!python/object/apply:os.getcwd []", id="a call"),
        pytest.param(b"models: !!int x", id="a wrong tag"),
        pytest.param(b"models: !!timestamp x", id="another wrong tag"),
        pytest.param(b"models: !mine []", id="a private tag"),
    ],
)
def test_invalid_yaml_and_other_encodings_are_refused(write: Write, content: bytes) -> None:
    error = refusal(write(content))
    assert (error.entry, error.field) == ("", "")
    assert "\n" not in str(error)


def test_a_key_that_appears_twice_is_named_with_its_line(write: Write) -> None:
    error = refusal(write("models:\n  - name: a\n    family: b\n    name: c\n"))
    assert "'name'" in error.problem
    assert "line 4" in error.problem


def laughs(open_link: str) -> str:
    """Nine times nine times nine … of one value: a small file that would exceed any memory when expanded."""
    levels = ["models:", "  - &level0 {name: x}"]
    levels += [f"  - &level{deep} {{{open_link}: [{', '.join([f'*level{deep - 1}'] * 9)}]}}" for deep in range(1, 40)]
    return "\n".join(levels)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(laughs("name"), id="aliases in lists"),
        pytest.param(laughs("<<"), id="aliases in merges"),
        pytest.param("&all {models: [*all]}", id="a document within itself"),
        pytest.param("models: [&one {name: *one}]", id="an entry within itself"),
        pytest.param("models: " + "[" * 100_000, id="deep brackets without end"),
        pytest.param("models: " + "[" * 30_000 + "]" * 30_000, id="deep brackets"),
        pytest.param("models: " + "{a: " * 30_000 + "}" * 30_000, id="deep braces"),
        pytest.param("models:\n  " + "- " * 100_000 + "a", id="deep lists"),
    ],
)
def test_a_hostile_file_is_an_error_and_does_not_crash_the_process(write: Write, text: str) -> None:
    """In a separate process with little memory: the parser's stack can overflow, which is a segmentation fault."""
    file = write(text)
    program = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (60, 60))\n"
        "from bdd100k_zoo.errors import ManifestError\n"
        "from bdd100k_zoo.registry import load_zoo\n"
        "try:\n"
        "    load_zoo(sys.argv[1])\n"
        "except ManifestError as error:\n"
        "    print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith(f"{file}: ")


@pytest.mark.parametrize("make", ["missing", "folder", "loop", "~nobody_of_that_name/zoo.yaml"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: str) -> None:
    file = tmp_path / make
    if make == "folder":
        file.mkdir()
    if make == "loop":
        file.symlink_to(file)
    with pytest.raises(ManifestError) as caught:
        load_zoo(make)
    assert caught.value.file.name == file.name
    assert caught.value.problem.startswith("cannot be read: ")


def test_a_missing_file_of_the_environment_is_an_error_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BDD100K_ZOO_FILES", str(tmp_path / "gone.yaml"))
    with pytest.raises(ManifestError, match=r"gone\.yaml: cannot be read"):
        load_zoo()


def test_a_file_saved_on_windows_is_read(document: Document, write: Write) -> None:
    text = yaml.safe_dump(document).replace("\n", "\r\n")
    assert len(load_zoo(write("\ufeff" + text)).models) == 65


def test_a_config_that_is_a_link_to_itself_is_missing(document: Document, write: Write) -> None:
    file = write(document)
    config = file.parent / "configs" / "night_net.py"
    config.unlink()
    config.symlink_to(config)
    assert refusal(file).field == "config"


@pytest.mark.parametrize(("field", "what"), OTHERS)
def test_alternates_of_a_file_come_after_its_published_address(
    document: Document, write: Write, field: str, what: ArtifactKind
) -> None:
    for name, file in ((field, "file"), ("md5", "md5")):
        addresses = {"address": f"https://far.example/{file}", "alternates": [f"https://later.example/{file}"]}
        put(document, f"models.0.{name}", addresses)
    model = load_zoo(write(document))["night_net_r50_1x"]
    assert model.artifact(what).addresses == ("https://far.example/file", "https://later.example/file")
    digests = ("https://far.example/md5", "https://later.example/md5")
    assert (model.artifact(what).digest_addresses, model.artifact("weights").digest_addresses) == ((), digests)


def test_alternates_without_a_published_address_are_refused(document: Document, write: Write) -> None:
    put(document, "models.0.md5", {"address": None, "alternates": ["https://later.example/md5"]})
    assert refusal(write(document)).field == "md5.alternates"


# Digests that a user adds to the built-in models

BUILT_IN = "fcos_r50_fpn_1x"
OTHER = "sha256:" + "e" * 64


@pytest.fixture
def digests(tmp_path: Path) -> Write:
    """Write a zoo file that holds only digests."""

    def write(digests: object, name: str = "digests.yaml", **more: object) -> Path:
        file = tmp_path / name
        file.write_text(yaml.safe_dump({"digests": digests, **more}))
        return file

    return write


def test_a_file_of_digests_adds_the_users_digests_to_built_in_models(digests: Write) -> None:
    file = digests({BUILT_IN: {"weights": SHA256, "preds": MD5}})
    plain, zoo = load_zoo(), load_zoo(file)
    assert zoo.files == (builtin_zoo_file(), file)
    for model, before in zip(zoo.models, plain.models, strict=True):
        for what in ARTIFACT_KINDS:
            given = {"weights": SHA256, "preds": MD5}.get(what) if model.name == BUILT_IN else None
            expected = (UserDigest(what, given, str(file)),) if given else ()
            assert model.artifact(what) == before.artifact(what)._replace(user_digests=expected)


def test_files_of_digests_are_named_by_the_variable_like_any_zoo_file(
    digests: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [digests({BUILT_IN: {"weights": MD5}}, "a.yaml"), digests({BUILT_IN: {"weights": SHA256}}, "b.yaml")]
    monkeypatch.setenv("BDD100K_ZOO_FILES", os.pathsep.join(map(str, files)))
    given = load_zoo()[BUILT_IN].artifact("weights").user_digests
    assert given == (UserDigest("weights", MD5, str(files[0])), UserDigest("weights", SHA256, str(files[1])))


@pytest.mark.parametrize(
    ("digests_of", "more", "entry", "field", "words"),
    [
        ({BUILT_IN: {"weights": SHA256}}, {"models": []}, "", "models", "nothing else"),
        ({BUILT_IN: {"weights": SHA256}}, {"note": "x"}, "", "note", "unknown field"),
        ({}, {}, "", "digests", "expected a mapping"),
        (None, {}, "", "digests", "expected a mapping"),
        ([BUILT_IN], {}, "", "digests", "expected a mapping"),
        ({"no_such_model": {"weights": SHA256}}, {}, "digests: no_such_model", "", "built-in model"),
        ({7: {"weights": SHA256}}, {}, "digests: 7", "", "built-in model"),
        ({"demo_fcos_r18_fpn": {"weights": SHA256}}, {}, "digests: demo_fcos_r18_fpn", "", "built-in model"),
        ({BUILT_IN: SHA256}, {}, f"digests: {BUILT_IN}", "", "weights: sha256"),
        ({BUILT_IN: {}}, {}, f"digests: {BUILT_IN}", "", "weights: sha256"),
        ({BUILT_IN: {"ap_val": 99}}, {}, f"digests: {BUILT_IN}", "ap_val", "only digests can be added"),
        ({BUILT_IN: {"start-values": SHA256}}, {}, f"digests: {BUILT_IN}", "start-values", "expected one of weights"),
        ({BUILT_IN: {"weights": "sha256:12"}}, {}, f"digests: {BUILT_IN}", "weights", "64 lower-case"),
        ({BUILT_IN: {"weights": SHA256.upper()}}, {}, f"digests: {BUILT_IN}", "weights", "64 lower-case"),
        ({BUILT_IN: {"weights": None}}, {}, f"digests: {BUILT_IN}", "weights", "64 lower-case"),
        ({BUILT_IN: {"weights": {"digest": SHA256}}}, {}, f"digests: {BUILT_IN}", "weights", "found dict"),
    ],
)
def test_a_file_of_digests_can_add_nothing_else(
    digests: Write, digests_of: object, more: dict[str, object], entry: str, field: str, words: str
) -> None:
    error = refusal(digests(digests_of, **more))
    assert (error.entry, error.field) == (entry, field)
    assert words in error.problem


def test_digests_of_a_users_model_belong_in_its_own_file(document: Document, write: Write, digests: Write) -> None:
    own, file = write(document), digests({"night_net_r50_1x": {"weights": SHA256}})
    with pytest.raises(ManifestError) as caught:
        load_zoo(own, file)
    assert (caught.value.file, str(own) in caught.value.problem) == (file, True)


def test_digests_of_one_file_that_contradict_each_other_are_refused_naming_both(digests: Write) -> None:
    first, second = (digests({BUILT_IN: {"weights": each}}, f"{each[-1]}.yaml") for each in (SHA256, OTHER))
    with pytest.raises(ManifestError) as caught:
        load_zoo(first, second)
    assert (caught.value.file, caught.value.field) == (second, "weights")
    assert all(part in caught.value.problem for part in (SHA256, OTHER, str(first)))
    same = digests({BUILT_IN: {"weights": SHA256}}, "same.yaml")
    assert len(load_zoo(first, same)[BUILT_IN].artifact("weights").user_digests) == 2


def test_a_digest_that_contradicts_the_built_in_zoo_is_refused_naming_both(
    digests: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = builtin_zoo_file().read_text(encoding="utf-8")
    builtin = tmp_path / "builtin.yaml"
    builtin.write_text(insert_digests(builtin, text, {BUILT_IN: {"weights": DigestAndSize(SHA256, 12)}}))
    monkeypatch.setattr(loading, "builtin_zoo_file", lambda: builtin)
    error = refusal(digests({BUILT_IN: {"weights": OTHER}}))
    assert all(part in error.problem for part in (SHA256, OTHER, str(builtin)))
    both = load_zoo(digests({BUILT_IN: {"weights": MD5}}))[BUILT_IN].artifact("weights")
    assert (both.digest, [given.digest for given in both.user_digests]) == (SHA256, [MD5])
