"""prune removes what is held in vain, names what it leaves, and touches nothing that anybody uses or owns."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from filelock import FileLock
from msgspec.structs import replace
from surroundings import NAME, Surroundings, entry_of

from bdd100k_zoo.hub.layout import (
    damaged_path,
    ledger_path,
    lock_path,
    partial_facts_path,
    partial_path,
    quarantine_file,
)
from bdd100k_zoo.hub.prune import PruneResult, prune_cache
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    """Prune, and see to it that a dry run before said the same and changed nothing."""
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


def test_what_is_not_ours_stays_and_is_named(here: Surroundings, tmp_path: Path) -> None:
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
    partial = partial_of(here.path(), host=socket.gethostname(), pid=os.getpid())
    pruned = run(here)
    assert (pruned.removed, [left.path for left in pruned.left]) == ((), [partial])
    assert str(os.getpid()) in pruned.left[0].why
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
def test_what_stands_beside_a_file_whose_lock_is_held_stays(here: Surroundings, leave: Callable[[Path], Path]) -> None:
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


def test_a_ledger_without_a_file_goes_only_where_that_is_asked_for(here: Surroundings) -> None:
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


def test_a_folder_that_cannot_be_changed_is_told_file_by_file(here: Surroundings) -> None:
    partial = partial_of(here.path())
    lock_path(here.path()).mkdir()
    pruned = prune_cache(here.store, here.zoo)
    assert (pruned.removed, [failed.path for failed in pruned.failed]) == ((), [partial])
    assert partial.exists()
