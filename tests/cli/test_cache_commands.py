"""cache as a user sees it: output, hints and exit status."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from bdd100k_zoo.hub import Store
from bdd100k_zoo.hub.layout import ledger_path, lock_path, partial_facts_path, partial_path
from bdd100k_zoo.hub.retry import RetryPolicy
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import load_zoo

CONTENT = b'{"AP": 31.04}' * 1000


@pytest.fixture
def filed(call, served, write_zoo):
    """A zoo file whose model's weights were downloaded and verified; their path in the cache."""
    (served.folder / "weights.pth").write_bytes(CONTENT)
    (served.folder / "weights.md5").write_text(hashlib.md5(CONTENT).hexdigest())
    zoo = str(write_zoo(md5=f"{served.address}/weights.md5"))
    assert call("--zoo", zoo, "download", "mine").exit_code == 0
    return zoo, Store().path(load_zoo(zoo)["mine"].artifact("weights"))


def partial_of(path: Path) -> Path:
    partial = partial_path(path, "1a2b3c4d")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(b"x" * 30)
    partial_facts_path(partial).write_text('{"model": "mine", "what": "weights", "address": null, "total": 120}')
    return partial


def all_fit(text: str) -> bool:
    return max(map(len, text.splitlines())) <= 80


def test_dir_prints_the_path_alone(call, tmp_path):
    assert call("cache", "dir").stdout == f"{tmp_path / 'cache'}\n"
    assert json.loads(call("cache", "dir", "--json").stdout) == {"dir": str(tmp_path / "cache")}


def test_an_empty_cache_is_listed_as_such(call):
    result = call("cache", "list")
    assert (result.exit_code, result.stdout) == (0, "0 files, 0 bytes\n")
    assert json.loads(call("cache", "list", "--json").stdout)["items"] == []
    assert call("cache", "verify").exit_code == 0
    assert call("cache", "prune").exit_code == 0


def test_list_shows_files_partial_ones_and_a_total(call, filed):
    zoo, path = filed
    partial_of(path)
    (path.parent / "notes.txt").write_text("mine")
    result = call("--zoo", zoo, "cache", "list")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["Model", "What", "Size", "Date", "State"]
    assert ["mine", "weights", "13.0", "kB", lines[1][4], "verified", "by", "the", "publisher"] in lines
    assert [line[-3:] for line in lines if line[0] == "mine" and "partial" in line] == [["partial", "25", "%"]]
    assert [line[-1] for line in lines if line[0] == "notes.txt"] == ["other"]
    assert result.stdout.splitlines()[-1] == ("1 file, 13.0 kB; 1 partial file, 30 bytes; 1 other file, 4 bytes")


def test_list_fits_80_columns_with_the_longest_names(call, zoo):
    for model in zoo.models:
        for what in ("weights", "scores-test"):
            path = Store().path(model.artifact(what))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 1234)
    (path.parent / ("long" * 40 + ".txt")).write_text("mine")
    result = call("cache", "list")
    assert all_fit(result.stdout)
    assert all(model.name in result.stdout for model in zoo.models)
    assert result.stdout.count("no ledger") == 2 * len(zoo.models)
    verified = call("cache", "verify")
    assert verified.exit_code == 0
    assert all_fit(verified.stdout)
    assert call("cache", "list").stdout.count("unverified") == 2 * len(zoo.models)


def test_list_as_json_is_one_document(call, filed):
    zoo, path = filed
    partial = partial_of(path)
    document = json.loads(call("--zoo", zoo, "cache", "list", "--json").stdout)
    assert document["size"] == len(CONTENT) + 30
    assert [(item["path"], item["kind"], item["state"], item["total"]) for item in document["items"]] == [
        (str(path), "file", "verified", None),
        (str(partial), "partial", "unknown", 120),
    ]


def test_names_from_files_cannot_drive_the_terminal(call, tmp_path):
    folder = tmp_path / "cache" / "det" / "weights"
    folder.mkdir(parents=True)
    (folder / "a\x1b[31m.txt").write_text("mine")
    assert "\x1b" not in call("cache", "list").stdout
    assert "\x1b" not in call("cache", "prune").stdout


def test_verify_reports_what_verified_each_file(call, filed):
    zoo, _ = filed
    result = call("--zoo", zoo, "cache", "verify", "mine")
    assert result.exit_code == 0
    assert "verified by the publisher" in result.stdout
    assert json.loads(call("--zoo", zoo, "cache", "verify", "--json").stdout)[0]["state"] == "verified"


def test_verify_names_what_was_damaged_its_new_name_and_the_next_command(call, filed):
    zoo, path = filed
    path.write_bytes(CONTENT[:-1])
    result = call("--zoo", zoo, "cache", "verify")
    assert result.exit_code == 1
    (aside,) = path.parent.glob("*.damaged")
    assert f"warning: {path}: expected sha256:" in result.stderr
    assert f"set aside as {aside}" in result.stderr
    assert f"`bdd100k-zoo --zoo {zoo} download mine` fetches it again" in result.stderr
    assert "damaged" in result.stdout
    listed = call("--zoo", zoo, "cache", "list").stdout
    assert "1 damaged file" in listed
    assert call("--zoo", zoo, "download", "mine").exit_code == 0
    assert path.read_bytes() == CONTENT


def test_a_damaged_file_is_reported_in_one_json_document(call, filed):
    zoo, path = filed
    path.write_bytes(b"")
    result = call("--zoo", zoo, "cache", "verify", "--json")
    assert result.exit_code == 1
    (found,) = json.loads(result.stdout)
    assert found["state"] == "damaged"
    assert Path(found["set_aside"]).is_file()


def test_the_next_command_names_the_kinds_of_files(call, zoo):
    path = Store().path(zoo["fcos_r50_fpn_1x"].artifact("preds"))
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert call("cache", "verify").exit_code == 0
    status = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "download fcos_r50_fpn_1x --what preds`" in call("cache", "verify").stderr


def test_verify_deep_without_torch_fails_before_anything_is_read(call, filed, monkeypatch):
    zoo, path = filed
    path.write_bytes(b"damaged")
    monkeypatch.setitem(sys.modules, "torch", None)
    result = call("--zoo", zoo, "cache", "verify", "--deep")
    assert result.exit_code == 1
    assert "torch" in result.stderr
    assert path.read_bytes() == b"damaged"  # it was not set aside


def test_verify_deep_detects_a_wrong_file_where_no_digest_is_known(call, filed):
    zoo, path = filed
    result = call("--zoo", zoo, "cache", "verify", "--deep")
    assert result.exit_code == 1
    assert "not a checkpoint" in result.stderr
    assert "does not fit the model" in " ".join(result.stdout.split())
    assert not path.exists()


@pytest.fixture
def trained(trial, tmp_path):
    """A checkpoint of Faster R-CNN that does not state that its weights are random."""
    import torch

    path = tmp_path / "trained.pth"
    torch.save({"state_dict": torch.load(trial.weights, weights_only=True)["state_dict"]}, path)
    return path


def test_import_reports_the_path_and_what_verified_the_file(call, trained):
    name = "faster_rcnn_r50_fpn_1x"
    result = call("--offline", "cache", "import", name, str(trained))
    assert result.exit_code == 0, result.stderr
    size = f"{trained.stat().st_size:,} bytes"
    path = Store().path(load_zoo()[name].artifact("weights"))
    assert result.stdout == f"{path}  {size}  unverified\n"
    assert "are unverified" in result.stderr
    deep = call("cache", "verify", name, "--deep")
    assert (deep.exit_code, "fits the model" in " ".join(deep.stdout.split())) == (0, True)


def test_import_of_the_random_weights_that_a_trial_makes_is_refused(call, trial, tmp_path):
    result = call("--offline", "cache", "import", "faster_rcnn_r50_fpn_1x", str(trial.weights))
    assert result.exit_code == 1
    assert "its metadata states that its weights are random" in result.stderr
    assert "hint: `bdd100k-zoo predict --weights FILE` runs it" in result.stderr
    assert not (tmp_path / "cache").exists()


def test_import_of_another_models_copy_reports_what_does_not_fit(call, trained, tmp_path):
    result = call("cache", "import", "retinanet_r50_fpn_1x", str(trained), "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert "does not fit retinanet_r50_fpn_1x" in told["error"]
    assert told["hint"]
    assert not (tmp_path / "cache").exists()


def test_import_verifies_other_files_by_the_digest_that_the_zoo_file_records(call, write_zoo, tmp_path):
    zoo = write_zoo()
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    preds = f"{{address: 'https://far.example/preds.json', digest: sha256:{sha256}, size: {len(CONTENT)}}}"
    zoo.write_text(zoo.read_text().replace("predictions: null", f"predictions: {preds}"))
    (tmp_path / "copy.json").write_bytes(b"[]")
    wrong = call("--zoo", str(zoo), "cache", "import", "mine", "copy.json", "--what", "preds")
    assert wrong.exit_code == 1
    assert sha256 in wrong.stderr
    (tmp_path / "copy.json").write_bytes(CONTENT[:13])
    assert call("--zoo", str(zoo), "cache", "import", "mine", "copy.json", "--what", "preds").exit_code == 1
    (tmp_path / "copy.json").write_bytes(b"[" + b",".join([CONTENT[:13]] * 3) + b"]")
    body = (tmp_path / "copy.json").read_bytes()
    zoo.write_text(
        zoo.read_text().replace(sha256, hashlib.sha256(body).hexdigest()).replace(str(len(CONTENT)), str(len(body)))
    )
    right = call("--zoo", str(zoo), "cache", "import", "mine", "copy.json", "--what", "preds")
    assert right.exit_code == 0, right.stderr
    assert right.stdout.endswith("verified by the zoo file\n")


def test_import_without_torch_names_the_extra_that_could_look_into_the_file(call, write_zoo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "copy.pth").write_bytes(CONTENT)
    result = call("--offline", "--zoo", str(write_zoo()), "cache", "import", "mine", "copy.pth")
    assert result.exit_code == 1
    assert "was not imported as the weights of mine" in result.stderr
    assert "bdd100k-zoo[predict]" in result.stderr
    zoo = write_zoo(digest=f"md5:{hashlib.md5(CONTENT).hexdigest()}")
    assert call("--offline", "--zoo", str(zoo), "cache", "import", "mine", "copy.pth").exit_code == 0


def test_a_changed_file_of_the_cache_leads_to_verify(call, filed):
    zoo, path = filed
    path.write_bytes(CONTENT[:-1])
    assert "`bdd100k-zoo cache verify` sets it aside" in call("--offline", "--zoo", zoo, "download", "mine").stderr


def test_a_failed_download_suggests_to_import_a_copy(call, write_zoo):
    result = call("--zoo", str(write_zoo()), "download", "mine")
    assert result.exit_code == 1
    assert "cache import mine FILE" in result.stderr


def test_export_shows_what_the_mirror_holds_and_how_to_use_it(call, filed, tmp_path):
    zoo, _ = filed
    result = call("--zoo", zoo, "cache", "export", "--out", "mirror")
    assert result.exit_code == 0, result.stderr
    assert "det/models/mine-weights.pth" in result.stdout
    assert f"BDD100K_ZOO_MIRRORS={(tmp_path / 'mirror').as_uri()}" in result.stderr
    assert (tmp_path / "mirror" / "det" / "models" / "mine-weights.pth").read_bytes() == CONTENT
    again = json.loads(call("--zoo", zoo, "cache", "export", "--out", "mirror", "--json").stdout)
    assert (again["written"], len(again["files"]), again["left_out"]) == (0, 1, [])


# Whose digest verifies a file

NAME = "faster_rcnn_r50_fpn_1x"
PREDS = b'[{"name": "a.jpg", "labels": []}]'


@pytest.fixture
def no_retries(monkeypatch):
    """Try every address once, without pauses."""
    once = RetryPolicy(tries=1)
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "retry_policy", once)
    monkeypatch.setattr("bdd100k_zoo.hub.verify.SHORT_RETRY_POLICY", once)


@pytest.fixture
def exported(call, tmp_path, monkeypatch, no_retries):
    """A mirror of predictions that no digest verifies, of another cache; the mirror is in use, and the cache empty."""
    (tmp_path / "copy.json").write_bytes(PREDS)
    monkeypatch.setenv("BDD100K_ZOO_CACHE", str(tmp_path / "other"))
    assert call("--offline", "cache", "import", NAME, "copy.json", "--what", "preds").exit_code == 0
    assert call("cache", "export", "--out", "mirror", "--include-unverified").exit_code == 0
    monkeypatch.setenv("BDD100K_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BDD100K_ZOO_MIRRORS", (tmp_path / "mirror").as_uri())
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return Store().path(load_zoo()[NAME].artifact("preds"))


def test_random_weights_are_not_verified_by_way_of_a_mirror(call, trial, tmp_path, monkeypatch, no_retries):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    path = Store().path(load_zoo()[NAME].artifact("weights"))
    with Store(offline=True) as store:
        store.import_file(load_zoo()[NAME].artifact("weights"), trial.weights, NO_PROGRESS)
    refused = call("cache", "export", "--out", "mirror")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"left out: {path}: it is unverified" in refused.stderr
    assert "--include-unverified" in refused.stderr
    assert not (tmp_path / "mirror").exists()
    assert call("cache", "export", "--out", "mirror", "--include-unverified").exit_code == 0
    (listed,) = json.loads((tmp_path / "mirror" / "index.json").read_text())["files"]
    assert (listed["verified"], listed["verified_by"]) == (False, None)

    monkeypatch.setenv("BDD100K_ZOO_CACHE", str(tmp_path / "second"))
    monkeypatch.setenv("BDD100K_ZOO_MIRRORS", (tmp_path / "mirror").as_uri())
    for _ in range(2):
        refused = call("download", NAME, "--require-digest")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert refused.stderr.count("error: ") == 1
        assert f"the weights of {NAME} cannot be verified" in refused.stderr
        assert f"bdd100k-zoo cache import {NAME} FILE --digest sha256:" in " ".join(refused.stderr.split())
        taken = call("download", NAME)
        assert taken.exit_code == 0
        assert taken.stdout.endswith("bytes  unverified\n")
        assert "it matches the mirror's digest file://" in taken.stderr
    assert json.loads(call("cache", "verify", "--json").stdout)[0]["state"] == "unverified"
    assert "UNVERIFIED" in call("info", NAME).stdout


def test_a_digest_given_on_import_verifies_by_the_user(call, exported, tmp_path):
    sha256 = hashlib.sha256(PREDS).hexdigest()
    take = ("cache", "import", NAME, "copy.json", "--what", "preds")
    assert call("download", NAME, "--what", "preds").exit_code == 0
    wrong = call(*take, "--digest", f"sha256:{'0' * 64}")
    assert wrong.exit_code == 1
    assert f"expected sha256:{'0' * 64} (from --digest), found sha256:{sha256}" in wrong.stderr
    right = call(*take, "--digest", f"SHA256:{sha256.upper()}")
    assert right.exit_code == 0, right.stderr
    assert right.stdout.endswith("verified by the user\n")
    assert call("download", NAME, "--what", "preds", "--require-digest").stdout.endswith("verified by the user\n")
    assert "verified by the user" in " ".join(call("cache", "list").stdout.split())
    assert "verified by the user" in " ".join(call("info", NAME).stdout.split())
    assert json.loads(call("cache", "verify", "--json").stdout)[0]["verified_by"] == "user"
    assert "verified by the user" in call("digests").stdout
    exports = call("cache", "export", "--out", "again")
    assert (exports.exit_code, "verified by the user" in " ".join(exports.stdout.split())) == (0, True)


def test_a_zoo_file_of_digests_verifies_by_the_user(call, exported, tmp_path, monkeypatch):
    file = tmp_path / "digests.yaml"
    file.write_text(f"digests:\n  {NAME}:\n    preds: md5:{hashlib.md5(PREDS).hexdigest()}\n")
    monkeypatch.setenv("BDD100K_ZOO_FILES", str(file))
    result = call("download", NAME, "--what", "preds", "--require-digest")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith("verified by the user\n")
    other = hashlib.md5(b"other").hexdigest()
    result = call("cache", "import", NAME, "copy.json", "--what", "preds", "--digest", f"md5:{other}")
    assert result.exit_code == 1
    assert all(part in result.stderr for part in (other, str(file), hashlib.md5(PREDS).hexdigest()))


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "md5:" + "a" * 64, "a" * 64, "sha256:" + "g" * 64, "sha1:" + "a" * 40]
)
def test_a_malformed_digest_is_wrong_usage(call, digest, tmp_path):
    result = call("cache", "import", NAME, "none.json", "--what", "preds", "--digest", digest)
    assert (result.exit_code, "--digest" in result.stderr) == (2, True)


def test_without_torch_the_users_digest_verifies_weights(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "copy.pth").write_bytes(CONTENT)
    take = ("--offline", "cache", "import", NAME, "copy.pth", "--digest", f"md5:{hashlib.md5(CONTENT).hexdigest()}")
    assert call(*take).stdout.endswith("verified by the user\n")


# rm


def test_rm_forgets_a_file_so_that_another_can_be_taken(call, exported, tmp_path):
    take = ("--offline", "cache", "import", NAME, "copy.json", "--what", "preds")
    assert call("download", NAME, "--what", "preds").exit_code == 0
    exported.unlink()
    (tmp_path / "copy.json").write_bytes(b"[]")
    refused = call(*take)
    assert refused.exit_code == 1
    assert f"`bdd100k-zoo cache rm {NAME} --what preds`" in " ".join(refused.stderr.split())
    assert "ledger without a file" in " ".join(call("cache", "list").stdout.split())
    lock_path(exported).touch()
    removed = call("cache", "rm", NAME, "--what", "preds")
    assert (removed.exit_code, str(exported) in removed.stdout) == (0, True)
    assert list(exported.parent.iterdir()) == []
    assert call(*take).exit_code == 0


def test_rm_removes_the_named_kinds_of_file_and_no_other(call, zoo):
    what = ["weights", "preds", "visuals"]
    paths = [Store().path(zoo[name].artifact(kind)) for kind in what for name in (NAME, "fcos_r50_fpn_1x")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert call("cache", "rm", NAME).exit_code == 0
    assert [path.exists() for path in paths] == [False, True, True, True, True, True]
    document = json.loads(call("cache", "rm", NAME, NAME, "--what", "preds", "--what", "weights", "--json").stdout)
    assert [(each["what"], each["path"], each["size"]) for each in document] == [("preds", str(paths[2]), 1)]
    assert [path.exists() for path in paths] == [False, True, False, True, True, True]
    nothing = call("cache", "rm", NAME)
    assert (nothing.exit_code, "holds no complete file" in nothing.stderr) == (1, True)


def test_rm_leaves_a_file_that_another_process_works_on(call, filed):
    zoo, path = filed
    with FileLock(lock_path(path)):
        result = call("--zoo", zoo, "cache", "rm", "mine")
    assert (result.exit_code, "another process holds its lock" in result.stderr) == (1, True)
    assert path.exists()


def test_prune_removes_ledgers_without_a_file_when_asked(call, filed):
    zoo, path = filed
    path.unlink()
    assert f"{ledger_path(path)}  its file is gone" in " ".join(call("--zoo", zoo, "cache", "prune").stdout.split(" "))
    assert ledger_path(path).exists()
    assert f"removed     {ledger_path(path)}" in call("--zoo", zoo, "cache", "prune", "--ledgers").stdout
    assert not ledger_path(path).exists()


# export and prune


def test_export_names_a_damaged_file_and_fails(call, filed):
    zoo, path = filed
    path.write_bytes(CONTENT[:-1])
    result = call("--zoo", zoo, "cache", "export", "--out", "mirror")
    assert result.exit_code == 1
    assert f"left out: {path}" in result.stderr
    assert "cache verify" in result.stderr


def test_export_overwrites_nothing(call, filed, tmp_path):
    zoo, _ = filed
    other = tmp_path / "mirror" / "det" / "models" / "mine-weights.pth"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    result = call("--zoo", zoo, "cache", "export", "--out", "mirror")
    assert result.exit_code == 1
    assert str(Path("mirror/det/models/mine-weights.pth")) in result.stderr
    assert "another folder" in result.stderr
    assert other.read_text() == "mine"


@pytest.mark.parametrize("folder", ["cache", "cache/det", "cache/det/weights/x", "link", ""])
def test_export_into_the_cache_itself_is_wrong_usage(call, filed, folder, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    assert call("--zoo", filed[0], "cache", "export", "--out", folder).exit_code == 2


def test_prune_reports_removed_and_left_files_and_the_bytes_freed(call, filed):
    zoo, path = filed
    partial = partial_of(path)
    size = partial.stat().st_size + partial_facts_path(partial).stat().st_size
    (path.parent / "notes.txt").write_text("mine")
    dry = call("--zoo", zoo, "cache", "prune", "--dry-run")
    assert f"would remove {partial}  {size} bytes, left over from a transfer" in dry.stdout
    assert dry.stdout.endswith(f"1 file, {size} bytes would be freed\n")
    assert partial.exists()
    result = call("--zoo", zoo, "cache", "prune")
    assert f"removed     {partial}" in result.stdout
    assert f"left        {path.parent / 'notes.txt'}" in result.stdout
    assert result.stdout.endswith(f"1 file, {size} bytes freed\n")
    assert not partial.exists()
    assert path.exists()
    document = json.loads(call("--zoo", zoo, "cache", "prune", "--json").stdout)
    assert (document["dry_run"], document["freed"], len(document["left"])) == (False, 0, 1)


def test_what_another_zoo_file_named_survives_a_prune_without_it(call, write_zoo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    zoo = write_zoo(digest=f"md5:{hashlib.md5(CONTENT).hexdigest()}")
    (tmp_path / "copy.pth").write_bytes(CONTENT)
    path = Path(call("--zoo", str(zoo), "cache", "import", "mine", "copy.pth").stdout.split("  ")[0])
    assert call("cache", "prune").stdout.endswith("0 files, 0 bytes freed\n")
    assert path.exists()
    zoo.unlink()
    assert "no model of the zoo names it" in call("cache", "prune").stdout
    assert not path.exists()


def test_a_model_that_is_not_there_is_an_error_with_a_hint(call):
    result = call("cache", "verify", "fcos_r50_fpn_1x")
    assert result.exit_code == 1
    assert "holds no complete file of fcos_r50_fpn_1x" in result.stderr
    assert "cache import MODEL FILE" in result.stderr
    assert call("cache", "verify", "fcos").exit_code == 1


# digests


def test_digests_are_printed_and_recorded(call, filed):
    zoo, _ = filed
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    result = call("--zoo", zoo, "digests")
    assert result.stdout == f"mine weights, {len(CONTENT):,} bytes, verified by the publisher\n  sha256:{sha256}\n"
    assert json.loads(call("--zoo", zoo, "digests", "--json").stdout)[0]["sha256"] == sha256
    written = call("digests", "--out", zoo)
    assert written.exit_code == 0, written.stderr
    assert "1 recorded now, 0 before; 0 left out" in written.stderr
    assert load_zoo(zoo)["mine"].weights.digest == f"sha256:{sha256}"
    assert json.loads(call("digests", "--out", zoo, "--json").stdout)["already"] == 1


def test_digests_of_unverified_files_are_not_recorded_unless_that_is_requested(call, served, write_zoo):
    (served.folder / "weights.pth").write_bytes(CONTENT)
    zoo = str(write_zoo())
    assert call("--zoo", zoo, "download", "mine").exit_code == 0
    before = Path(zoo).read_bytes()
    refused = call("digests", "--out", zoo)
    assert refused.exit_code == 1
    assert "the weights of mine are unverified; their digest is not recorded" in refused.stderr
    assert "--include-unverified" in refused.stderr
    assert Path(zoo).read_bytes() == before
    asked = call("digests", "--out", zoo, "--include-unverified")
    assert asked.exit_code == 0
    assert "any copy with the digest recorded now counts as verified" in asked.stderr
    assert load_zoo(zoo)["mine"].weights.digest == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert call("digests", "--include-unverified").exit_code == 2


def test_digests_against_a_recorded_one_are_refused(call, filed, write_zoo):
    zoo = write_zoo(digest=f"md5:{'0' * 32}")
    before = zoo.read_bytes()
    result = call("digests", "--out", str(zoo))
    assert result.exit_code == 1
    assert "0" * 32 in result.stderr
    assert hashlib.md5(CONTENT).hexdigest() in result.stderr
    assert zoo.read_bytes() == before
