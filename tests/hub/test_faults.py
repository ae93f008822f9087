"""Every fault of the list, tried on a server that has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fault_host import artifact_of, md5_of
from faults import BODY, ENDLESS, FAULTS, brought_up_to_date

from bdd100k_zoo.errors import DigestMismatchError, TransferError
from bdd100k_zoo.hub import transfer
from bdd100k_zoo.hub.retry import Timeouts
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fault_host import Host
    from faults import Fault

    from bdd100k_zoo.hub import Store
    from bdd100k_zoo.registry import Artifact

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "downloads.md"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TRANSFER_TIMEOUTS", Timeouts(0.2, 0.2))


def _artifact(host: Host, fault: Fault) -> Artifact:
    digest = f"md5:{md5_of(BODY)}" if fault.digest else None
    return artifact_of(host.serves("/x.pth", *fault.replies), digest=digest, size=len(BODY) if fault.size else None)


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if not fault.words])
def test_the_file_arrives_in_spite_of(name: str, host: Host, store: Store) -> None:
    fault = FAULTS[name]
    stored = store.fetch(_artifact(host, fault), NO_PROGRESS)
    assert stored.path.read_bytes() == fault.content
    assert (stored.md5, stored.size) == (md5_of(fault.content), len(fault.content))
    assert host.asked["/x.pth"] == fault.requests
    ranges = tuple(headers["Range"] for headers in host.seen_headers if "Range" in headers)
    assert ranges == (fault.ranges or ranges)
    assert store.partials(_artifact(host, fault)) == ()


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.words])
def test_the_address_fails_and_the_reason_is_reported(
    name: str, host: Host, store: Store, left_over: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS[name]
    if fault.words == ENDLESS:  # a busy machine may need longer to send and read two mebibytes
        monkeypatch.setattr(transfer, "TRANSFER_TIMEOUTS", Timeouts(10, 10))
    artifact = _artifact(host, fault)
    with pytest.raises((TransferError, DigestMismatchError)) as caught:
        store.fetch(artifact, NO_PROGRESS)
    if isinstance(caught.value, TransferError):
        (attempt,) = caught.value.attempts
        assert (attempt.address, attempt.outcome) == (artifact.addresses[0], fault.words)
        assert caught.value.kept == fault.kept
    else:
        assert f"sent other bytes: expected {caught.value.expected}".startswith(fault.words)
    assert host.asked["/x.pth"] == fault.requests
    assert [state.size for state in store.partials(artifact)] == [fault.kept] * bool(fault.kept)
    assert len(left_over()) == 2 * bool(fault.kept)
    assert not store.path(artifact).exists()


def test_the_table_of_the_document_is_that_of_this_list() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == brought_up_to_date(document), "python tests/hub/faults.py docs/downloads.md mends it"
