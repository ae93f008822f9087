"""Files of the cache verified, removed and pruned, beside other processes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from filelock import FileLock
from msgspec.structs import replace
from surroundings import NAME, Surroundings, check_weights, entry_of

from bdd100k_zoo.backends.mmdet3.random_weights import save_random_weights
from bdd100k_zoo.errors import ArtifactError, UnknownNameError
from bdd100k_zoo.hub import ledger, locks
from bdd100k_zoo.hub.inventory import list_cache_items
from bdd100k_zoo.hub.layout import (
    damaged_path,
    ledger_path,
    lock_path,
    partial_facts_path,
    partial_path,
    quarantine_file,
)
from bdd100k_zoo.hub.maintenance import (
    CheckedFile,
    PruneResult,
    prune_cache,
    verify_cache,
)
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.models import UserDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


CONTENT = b"weights" * 400_000
OTHER = "sha256:" + "0" * 64


def sha256(content: bytes = CONTENT) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def flip(path: Path) -> None:
    """Change a byte of a file, and neither its size nor its time."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def only(here: Surroundings, *names: str, deep: bool = False) -> CheckedFile:
    check = check_weights if deep else None
    (checked,) = verify_cache(here.store, here.zoo, names, here.told, check_weights=check)
    return checked


def pinned(path: Path) -> str | None:
    known = ledger.read_ledger(path)
    return known.sha256 if isinstance(known, ledger.LedgerEntry) else None


@pytest.fixture
def read_only(here: Surroundings) -> Iterator[Callable[[], None]]:
    """Makes the cache read-only: root may write whatever its rights say, and needs a mount that is read-only."""
    root, undo = str(here.store.root), ExitStack()

    def make() -> None:
        if os.geteuid():
            folders = [path for path in here.store.root.rglob("*") if path.is_dir()]
            for folder in folders:
                folder.chmod(0o500)
                undo.callback(folder.chmod, 0o700)
            return
        try:
            subprocess.run(["mount", "--bind", root, root], check=True, capture_output=True)
            undo.callback(subprocess.run, ["umount", root], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this system lets nobody mount")

    with undo:
        yield make


# What is right


@pytest.mark.parametrize("locked_before", [False, True])
def test_a_read_only_cache_is_verified_without_locks_and_damaged_files_stay(
    here: Surroundings, read_only: Callable[[], None], locked_before: bool
) -> None:
    right = here.holds(CONTENT)
    wrong = here.holds(CONTENT, what="preds")
    bare = here.holds(CONTENT, what="visuals")
    ledger_path(bare).unlink()
    flip(wrong)
    if locked_before:
        lock_path(right).touch()
    read_only()
    before = sorted(here.store.root.rglob("*"))
    found = {checked.path: checked for checked in verify_cache(here.store, here.zoo, (), here.told)}
    assert found[right].state == "verified"
    assert found[bare].state == "unverified"
    assert (found[wrong].state, found[wrong].set_aside) == ("damaged", None)
    assert "could not be set aside" in here.told.warnings[-1]
    assert sorted(here.store.root.rglob("*")) == before


def test_a_digest_of_the_users_verifies_a_file_without_a_ledger_in_a_read_only_cache(
    here: Surroundings, read_only: Callable[[], None]
) -> None:
    path = here.holds(CONTENT)
    ledger_path(path).unlink()
    digest = UserDigest("weights", f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", "digests.yaml")
    models = tuple(replace(model, user_digests=(digest,)) for model in here.zoo.models)
    read_only()
    (checked,) = verify_cache(here.store, dataclasses.replace(here.zoo, models=models), (), here.told)
    assert (checked.state, checked.verified_by) == ("verified", "user")
    assert not ledger_path(path).exists()


def test_a_file_as_its_ledger_describes_it_is_verified_by_whom_that_says(here: Surroundings) -> None:
    path = here.holds(CONTENT)
    checked = only(here)
    assert (checked.path, checked.model, checked.what, checked.size) == (path, NAME, "weights", len(CONTENT))
    assert (checked.state, checked.verified_by, checked.problem) == (
        "verified",
        "publisher",
        None,
    )
    assert here.told.done == {f"{NAME} weights": len(CONTENT)}
    assert not here.told.warnings


def test_an_unverified_file_stays_and_the_reason_is_reported(here: Surroundings) -> None:
    here.holds(CONTENT, verified_by=None, reason="no digest")
    checked = only(here)
    assert (checked.state, checked.reason, checked.problem) == ("unverified", "no digest", None)


def test_the_zoo_files_digest_decides_where_there_is_one(here: Surroundings) -> None:
    here.lists(entry_of(NAME, digest=sha256(), size=len(CONTENT)))
    here.holds(CONTENT, verified_by=None, reason="none then")
    assert (only(here).state, only(here).verified_by) == ("verified", "zoo file")


def test_a_ledger_of_other_bytes_is_corrected_if_the_zoo_files_digest_verifies_the_file(
    here: Surroundings,
) -> None:
    here.lists(entry_of(NAME, digest=sha256(), size=len(CONTENT)))
    path = here.holds(CONTENT, sha256="0" * 64, md5="0" * 32)
    assert (only(here).state, only(here).verified_by) == ("verified", "zoo file")
    assert pinned(path) == sha256()[7:]


def test_a_file_without_a_ledger_gets_one(here: Surroundings) -> None:
    path = here.holds(CONTENT)
    ledger_path(path).unlink()
    checked = only(here)
    assert (checked.state, checked.problem) == ("unverified", None)
    assert "put into the cache by hand" in str(checked.reason)
    assert pinned(path) == sha256()[7:]


def test_a_file_that_its_owner_replaced_by_hand_is_taken_as_the_new_one(here: Surroundings) -> None:
    path = here.holds(CONTENT, address=None, verified_by=None, reason="by hand")
    path.write_bytes(b"newer")
    assert only(here).state == "unverified"
    assert pinned(path) == sha256(b"newer")[7:]


def test_a_touched_file_of_the_same_bytes_stays_verified(here: Surroundings) -> None:
    path = here.holds(CONTENT)
    os.utime(path, (1, 1))
    assert only(here).state == "verified"
    known = ledger.read_ledger(path)
    assert isinstance(known, ledger.LedgerEntry)
    assert known.matches_stat(path.stat())


def test_files_of_every_kind_and_of_models_that_the_zoo_lacks_are_checked(here: Surroundings) -> None:
    here.lists(entry_of(NAME), entry_of("gone_1x"))
    for what in ("weights", "preds", "visuals"):
        here.holds(CONTENT, what)
    flip(here.holds(CONTENT, name="gone_1x"))
    here.holds(CONTENT, "preds", name="gone_1x")
    here.lists(entry_of(NAME))
    checked = verify_cache(here.store, here.zoo, (), NO_PROGRESS)
    assert [(each.model, each.what, each.state) for each in checked] == [
        ("gone_1x", "weights", "damaged"),
        (NAME, "weights", "verified"),
        ("gone_1x", "preds", "verified"),
        (NAME, "preds", "verified"),
        (NAME, "visuals", "verified"),
    ]


def test_partial_and_other_files_are_left_out(here: Surroundings) -> None:
    path = here.holds(CONTENT)
    partial_path(path, "1a2b3c4d").write_bytes(b"half")
    (path.parent / "notes.txt").write_text("mine")
    assert only(here).path == path


# What is damaged


def test_a_flipped_byte_that_neither_size_nor_time_betrays_is_found(here: Surroundings) -> None:
    path = here.holds(CONTENT)
    flip(path)
    damaged = path.read_bytes()
    checked = only(here)
    assert checked.state == "damaged"
    assert sha256() in str(checked.problem)
    assert sha256(damaged) in str(checked.problem)
    assert checked.set_aside
    assert checked.set_aside.read_bytes() == damaged
    assert not path.exists()
    assert here.told.warnings == [f"{checked.problem}; it was set aside as {checked.set_aside}"]
    assert str(path) in here.told.warnings[0]


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(CONTENT[:-1]), flip, lambda path: path.write_bytes(b"")]
)
def test_the_ledger_stays_to_hold_the_next_file_to_its_digest(
    here: Surroundings, damage: Callable[[Path], object]
) -> None:
    path = here.holds(CONTENT)
    damage(path)
    assert only(here).state == "damaged"
    assert pinned(path) == sha256()[7:]
    assert here.store.find(here.zoo[NAME].artifact("weights")) is None


@pytest.mark.parametrize("known", [{"digest": OTHER}, {"digest": "md5:" + "0" * 32}, {"size": 3}])
def test_a_ledger_that_the_zoo_file_contradicts_is_renamed_with_its_file(
    here: Surroundings, known: dict[str, object]
) -> None:
    here.holds(CONTENT)
    here.lists(entry_of(NAME, **known))
    checked = only(here)
    assert checked.state == "damaged"
    assert "zoo file" in str(checked.problem)
    assert checked.set_aside
    assert pinned(checked.path) is None
    assert pinned(checked.set_aside) == sha256()[7:]


def test_a_damaged_file_of_a_right_ledger_keeps_it_where_the_zoo_file_agrees_with_the_ledger(
    here: Surroundings,
) -> None:
    here.lists(entry_of(NAME, digest=sha256()))
    path = here.holds(CONTENT)
    flip(path)
    assert only(here).state == "damaged"
    assert pinned(path) == sha256()[7:]


def test_a_file_without_a_ledger_that_contradicts_the_zoo_file_is_set_aside(here: Surroundings) -> None:
    here.lists(entry_of(NAME, digest=OTHER))
    ledger_path(here.holds(CONTENT)).unlink()
    checked = only(here)
    assert (checked.state, here.path().exists()) == ("damaged", False)
    assert OTHER in str(checked.problem)


def test_one_damaged_file_does_not_hold_up_the_rest(here: Surroundings) -> None:
    flip(here.holds(CONTENT))
    here.holds(CONTENT, "visuals")
    assert [each.state for each in verify_cache(here.store, here.zoo, [NAME], NO_PROGRESS)] == ["damaged", "verified"]
    assert [each.state for each in verify_cache(here.store, here.zoo, [NAME], NO_PROGRESS)] == ["verified"]


# Beside other processes


HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_file_that_another_process_works_on_is_waited_for(
    here: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here.holds(CONTENT)
    monkeypatch.setattr(locks, "LOCK_WAIT", 0.05)
    command = [sys.executable, "-c", HOLD, str(lock_path(path))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        checked = only(here)
        holder.communicate("\n")
    assert (checked.state, path.read_bytes()) == ("unreadable", CONTENT)
    assert "lock" in str(checked.problem)
    assert "waiting for it" in here.told.notes[0]
    assert only(here).state == "verified"


def test_a_file_that_went_while_its_lock_was_waited_for_is_left_out(here: Surroundings) -> None:
    path = here.holds(CONTENT)
    here.holds(CONTENT, "visuals")

    class Removing(type(here.told)):  # type: ignore[misc]
        def note(self, message: str) -> None:
            path.unlink()
            lock.release()

    lock = FileLock(lock_path(path), thread_local=False)
    lock.acquire()
    assert [each.what for each in verify_cache(here.store, here.zoo, (), Removing())] == ["visuals"]


# Names


def test_names_choose_the_models(here: Surroundings) -> None:
    here.lists(entry_of(NAME), entry_of("yours_1x", aliases=["theirs_1x"]))
    here.holds(CONTENT)
    here.holds(CONTENT, name="yours_1x")
    assert only(here, "theirs_1x").model == "yours_1x"
    assert len(list_cache_items(here.store, here.zoo)) == 2
    with pytest.raises(UnknownNameError):
        only(here, "nobody_1x")


def test_a_model_of_which_there_is_nothing_is_an_error_and_an_empty_cache_is_none(here: Surroundings) -> None:
    assert verify_cache(here.store, here.zoo, (), NO_PROGRESS) == []
    with pytest.raises(ArtifactError, match=NAME):
        verify_cache(here.store, here.zoo, [NAME], NO_PROGRESS)


# Deep


def test_weights_that_fit_their_model_are_reported_so(here: Surroundings, checkpoint: Callable[..., Path]) -> None:
    here.holds(checkpoint("retinanet_r50_fpn_1x").read_bytes())
    here.holds(b"{}", "preds")
    weights, preds = verify_cache(here.store, here.zoo, (), NO_PROGRESS, check_weights=check_weights)
    assert (weights.state, weights.fits_model, weights.problem) == ("verified", True, None)
    assert (preds.state, preds.fits_model) == ("verified", None)
    here.path("preds").unlink()
    assert only(here).fits_model is None


def test_weights_of_another_model_are_set_aside_with_their_ledger(
    here: Surroundings, checkpoint: Callable[..., Path]
) -> None:
    path = here.holds(checkpoint("fcos_r50_fpn_1x").read_bytes())
    checked = only(here, deep=True)
    assert (checked.state, checked.fits_model) == ("damaged", False)
    assert "does not fit mine_1x" in str(checked.problem)
    assert checked.set_aside
    assert checked.set_aside.is_file()
    assert not path.exists()
    assert pinned(path) is None, "the pin of a wrong file would refuse the right one"


def test_a_wrong_file_without_a_ledger_leaves_no_pin_either(
    here: Surroundings, checkpoint: Callable[..., Path]
) -> None:
    path = here.holds(checkpoint("fcos_r50_fpn_1x").read_bytes())
    ledger_path(path).unlink()
    assert only(here, deep=True).state == "damaged"
    assert pinned(path) is None


def test_a_file_that_is_no_checkpoint_is_set_aside(here: Surroundings) -> None:
    here.holds(CONTENT)
    checked = only(here, deep=True)
    assert (checked.state, checked.fits_model) == ("damaged", False)
    assert "not a checkpoint" in str(checked.problem)


def test_random_weights_in_the_cache_are_set_aside(here: Surroundings, tmp_path: Path) -> None:
    save_random_weights(here.zoo[NAME].config_path, tmp_path / "random.pth")
    here.holds((tmp_path / "random.pth").read_bytes())
    assert only(here).state == "verified"
    checked = only(here, deep=True)
    assert (checked.state, checked.fits_model) == ("damaged", False)
    assert "its metadata states that its weights are random" in str(checked.problem)


def test_a_config_that_builds_no_model_condemns_no_file(here: Surroundings, checkpoint: Callable[..., Path]) -> None:
    path = here.holds(checkpoint("retinanet_r50_fpn_1x").read_bytes())
    (here.zoo_file.parent / "config.py").write_text("model = dict(type='NoSuchDetector')\n")
    checked = only(here, deep=True)
    assert (checked.state, checked.fits_model, path.is_file()) == ("verified", None, True)
    assert "NoSuchDetector" in str(checked.problem)
    assert "could not be checked against its model" in here.told.warnings[0]


def test_weights_of_a_model_that_the_zoo_lacks_are_checked_by_their_digest_alone(here: Surroundings) -> None:
    here.lists(entry_of("gone_1x"))
    here.holds(CONTENT, name="gone_1x")
    here.lists(entry_of(NAME))
    checked = only(here, deep=True)
    assert (checked.state, checked.fits_model, checked.problem) == ("verified", None, None)


STAMP = "20261105T101112"


def partial_of(target: Path, **facts: Any) -> Path:
    partial = partial_path(target, "1a2b3c4d")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(b"half of it")
    partial_facts_path(partial).write_bytes(
        msgspec.json.encode({"model": NAME, "what": "weights", "address": None, **facts})
    )
    return partial


def every_file(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def run(here: Surroundings, **options: Any) -> PruneResult:
    """Prune, and check that a dry run before reports the same and changes nothing."""
    before = every_file(here.folder)
    planned = prune_cache(here.store, here.zoo, dry_run=True, **options)
    assert every_file(here.folder) == before
    pruned = prune_cache(here.store, here.zoo, **options)
    assert planned.dry_run
    assert replace(planned, dry_run=False) == pruned
    return pruned


def removed(pruned: PruneResult) -> list[str]:
    return [removal.path.name for removal in pruned.removed]


# What goes


def test_partial_files_go_with_their_facts(here: Surroundings) -> None:
    partial = partial_of(here.path(), model=NAME)
    size = partial.stat().st_size + partial_facts_path(partial).stat().st_size
    pruned = run(here)
    assert removed(pruned) == [partial.name]
    assert pruned.freed == pruned.removed[0].size == size
    assert here.names() == []


def test_facts_and_half_written_records_that_were_left_alone_go_too(here: Surroundings) -> None:
    partial = partial_of(here.path())
    partial.unlink()
    half = here.path().with_name(f".{ledger_path(here.path()).name}.{'a' * 32}")
    half.write_bytes(b"{")
    assert set(removed(run(here))) == {partial_facts_path(partial).name, half.name}
    assert here.names() == []


def test_files_that_were_set_aside_go_and_the_pin_stays(here: Surroundings) -> None:
    aside = quarantine_file(here.holds(b"damaged"), keep_ledger=True)
    here.holds(b"damaged too", "preds")
    along = quarantine_file(here.path("preds"), keep_ledger=False)
    assert removed(run(here)) == [aside.name, along.name]
    assert here.names() == []
    assert ledger_path(here.path()).is_file()
    assert not ledger_path(along).exists()


def test_files_that_no_model_names_go_with_their_ledgers(here: Surroundings) -> None:
    here.lists(entry_of(NAME), entry_of("gone_1x"))
    kept, gone = here.holds(b"kept"), here.holds(b"gone", name="gone_1x")
    here.lists(entry_of(NAME))
    pruned = run(here)
    assert removed(pruned) == [gone.name]
    assert pruned.removed[0].why == "no model of the zoo names it"
    assert (kept.is_file(), ledger_path(gone).exists()) == (True, False)


@pytest.mark.parametrize("zoo_file", [None, "/nowhere/at/all.yaml", "/etc/hostname/x.yaml"])
def test_a_file_whose_zoo_file_is_gone_goes(here: Surroundings, zoo_file: str | None) -> None:
    here.holds(b"x", zoo_file=zoo_file)
    here.zoo = load_zoo()
    assert removed(run(here)) == [f"{NAME}.pth"]


def test_a_second_time_there_is_nothing_to_remove(here: Surroundings) -> None:
    partial_of(here.path())
    run(here)
    assert run(here) == PruneResult(dry_run=False, removed=(), left=(), failed=(), freed=0, locks=())


def test_a_cache_that_does_not_exist_is_not_made(here: Surroundings) -> None:
    assert run(here).freed == 0
    assert not here.store.root.exists()


# What stays


def test_files_that_the_zoo_names_stay_and_are_not_mentioned(here: Surroundings) -> None:
    for what in ("weights", "preds", "visuals"):
        here.holds(b"x", what)
    here.path("scores-val").parent.mkdir()
    here.path("scores-val").write_bytes(b"by hand")
    pruned = run(here)
    assert (pruned.removed, pruned.left) == ((), ())
    assert len(here.names()) == 4


def test_a_file_of_a_zoo_file_that_is_not_in_use_today_stays_and_is_not_mentioned(here: Surroundings) -> None:
    path = here.holds(b"x")
    here.zoo = load_zoo()
    pruned = run(here)
    assert (pruned.removed, pruned.left, path.is_file()) == ((), (), True)


def test_a_file_of_a_zoo_file_that_cannot_be_loaded_now_stays_and_is_named(here: Surroundings) -> None:
    path = here.holds(b"x")
    here.zoo_file.write_text("models: [")
    here.zoo = load_zoo()
    pruned = run(here)
    assert (pruned.removed, path.is_file()) == ((), True)
    assert [left.path for left in pruned.left] == [path]
    assert str(here.zoo_file) in pruned.left[0].why


def test_a_file_whose_ledger_is_damaged_stays_and_is_named(here: Surroundings) -> None:
    path = here.holds(b"x")
    ledger_path(path).write_text("{")
    here.zoo = load_zoo()
    assert [left.path for left in run(here).left] == [path]


def test_other_files_stay_and_are_listed(here: Surroundings, tmp_path: Path) -> None:
    folder = here.holds(b"x").parent
    (folder / "notes.txt").write_text("mine")
    (folder / "mine.partial").write_text("no transfer of ours")
    (folder / "sub").mkdir()
    (folder / "sub" / f"a.pth.1a2b3c4d{'.partial'}").write_text("inside a folder of mine")
    (folder / "elsewhere.pth").symlink_to(tmp_path / "zoo" / "mine.yaml")
    pruned = run(here)
    assert pruned.removed == ()
    assert {left.path.name for left in pruned.left} == {"notes.txt", "mine.partial", "sub", "elsewhere.pth"}
    assert all(left.why for left in pruned.left)


def test_nothing_outside_the_folders_of_the_cache_is_touched(here: Surroundings, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    partial_of(outside / "a.pth")
    here.holds(b"x")
    (here.store.root / "det" / "preds").symlink_to(outside)
    link = damaged_path(here.path(), STAMP)
    link.symlink_to(outside / "a.pth.1a2b3c4d.partial")
    partial_of(here.store.root / "top.pth")
    partial_of(here.store.root / "det" / "between.pth")
    pruned = run(here)
    assert pruned.removed == ()
    assert {left.path for left in pruned.left} == {link, here.store.root / "det" / "preds"}
    assert link.is_symlink()


# What somebody works on


def test_a_partial_file_of_a_live_process_stays_and_is_named(here: Surroundings) -> None:
    partial = partial_of(here.path(), host=socket.gethostname(), pid=os.getppid())
    pruned = run(here)
    assert (pruned.removed, [left.path for left in pruned.left]) == ((), [partial])
    assert str(os.getppid()) in pruned.left[0].why
    assert partial_facts_path(partial).is_file()


def test_a_partial_file_of_a_killed_process_goes(here: Surroundings) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    partial_of(here.path(), host=socket.gethostname(), pid=child.pid)
    assert run(here).removed == ()
    child.kill()
    child.communicate()
    assert len(run(here).removed) == 1


def hold(path: Path) -> Path:
    return path


@pytest.mark.parametrize(
    "leave",
    [partial_of, lambda target: damaged_path(target, STAMP), hold],
    ids=["partial", "damaged", "unnamed"],
)
def test_sidecars_of_a_file_whose_lock_is_held_stay(here: Surroundings, leave: Callable[[Path], Path]) -> None:
    target = here.holds(b"x", zoo_file=None)
    path = leave(target)
    if not path.exists():
        target.rename(path)
    here.zoo = load_zoo()
    with FileLock(lock_path(target)):
        pruned = run(here)
        assert path.exists()
    assert path in {left.path for left in pruned.left}
    assert {left.why for left in pruned.left if left.path == path} == {"another process holds its lock"}
    assert (pruned.locks, lock_path(target).exists()) == ((), True)
    assert path.name in removed(run(here))
    assert not lock_path(target).exists()


# Locks, and ledgers without a file


def test_locks_that_no_process_holds_go(here: Surroundings) -> None:
    path = here.holds(b"x")
    lock_path(path).touch()
    lock_path(here.path("preds")).parent.mkdir(parents=True)
    lock_path(here.path("preds")).touch()
    pruned = run(here)
    assert (pruned.locks, pruned.removed) == ((lock_path(path), lock_path(here.path("preds"))), ())
    assert not list(here.store.root.rglob("*.lock"))
    assert path.is_file()


def test_a_ledger_without_a_file_is_removed_only_on_request(here: Surroundings) -> None:
    path = here.holds(b"x", verified_by=None, reason="no digest")
    size = ledger_path(path).stat().st_size
    path.unlink()
    kept = here.holds(b"[]", "preds")
    pruned = run(here)
    assert (removed(pruned), [left.path for left in pruned.left]) == ([], [ledger_path(path)])
    assert "--ledgers" in pruned.left[0].why
    pruned = run(here, ledgers=True)
    assert ([removal.path for removal in pruned.removed], pruned.freed) == ([ledger_path(path)], size)
    assert (kept.is_file(), ledger_path(kept).is_file()) == (True, True)


def test_a_folder_that_cannot_be_changed_is_reported_file_by_file(here: Surroundings) -> None:
    partial = partial_of(here.path())
    lock_path(here.path()).mkdir()
    pruned = prune_cache(here.store, here.zoo)
    assert (pruned.removed, [failed.path for failed in pruned.failed]) == ((), [partial])
    assert partial.exists()
