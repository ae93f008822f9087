"""Addresses that answer, that moved and that are dead; those of the zoo."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from fault_host import Handler, Host, QuietServer, Reply, Told, running_host

from bdd100k_zoo.hub import link_check
from bdd100k_zoo.hub.link_check import (
    MAX_HOST_FAILURES,
    PER_HOST,
    CheckedLink,
    Link,
    check_links,
    check_zoo_links,
)
from bdd100k_zoo.hub.mirrors import Mirror
from bdd100k_zoo.hub.retry import Timeouts
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import ARTIFACT_KINDS, Zoo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SOON = Timeouts(connect=5, read=0.2)


def verdict_on(address: str, *, page: bool = False, waits: Timeouts = Timeouts(5, 10)) -> CheckedLink:  # noqa: B008
    (verdict,) = check_links([Link(address, page)], NO_PROGRESS, waits)
    assert verdict.address == address
    return verdict


@pytest.fixture
def other_host() -> Iterator[Host]:
    with running_host() as host:
        yield host


def test_an_address_that_answers_is_alive_and_its_body_is_not_requested(host: Host) -> None:
    verdict = verdict_on(host.serves("/x.pth", b"weights"))
    assert (verdict.state, verdict.outcome, verdict.moved_to) == ("alive", "", None)
    assert verdict.host == host.address.removeprefix("http://")
    assert verdict.milliseconds is not None
    assert host.asked == {"/x.pth": 1, "HEAD /x.pth": 1}


@pytest.mark.parametrize("status", [400, 403, 405, 429, 500, 501, 503])
def test_where_head_is_refused_the_first_byte_is_requested(host: Host, status: int) -> None:
    assert verdict_on(host.serves("/x.pth", Reply(b"weights", head_status=status))).state == "alive"
    assert host.asked == {"/x.pth": 2, "HEAD /x.pth": 1}
    assert host.seen_headers[-1]["Range"] == "bytes=0-0"


def test_a_server_that_honours_the_range_is_alive_too(host: Host) -> None:
    assert verdict_on(host.serves("/x.pth", Reply(b"w", status=206, head_status=405))).state == "alive"


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (410, 1), (403, 2), (500, 2), (799, 2)])
def test_an_address_that_refuses_is_dead_and_its_status_is_reported(host: Host, status: int, asked: int) -> None:
    verdict = verdict_on(host.serves("/x.pth", Reply(status=status)))
    assert verdict.state == "dead"
    assert verdict.outcome.startswith(f"answered {status}")
    assert host.asked["/x.pth"] == asked


@pytest.mark.parametrize("status", [301, 308])
def test_a_permanent_redirect_counts_as_moved(host: Host, status: int) -> None:
    new = host.serves("/new.pth", b"weights")
    verdict = verdict_on(host.serves("/x.pth", Reply(status=status, headers={"Location": "/new.pth"})))
    assert (verdict.state, verdict.moved_to) == ("moved", new)


def test_the_token_of_a_place_that_it_moved_to_is_not_shown(host: Host) -> None:
    host.serves("/new.pth?token=s3cr3t", b"weights")
    verdict = verdict_on(host.serves("/x.pth", Reply(status=301, headers={"Location": "/new.pth?token=s3cr3t"})))
    assert (verdict.state, verdict.moved_to) == ("moved", f"{host.address}/new.pth?token=***")


@pytest.mark.parametrize("status", [302, 303, 307])
def test_a_temporary_redirect_counts_as_alive(host: Host, status: int) -> None:
    host.serves("/signed?until=tomorrow", b"weights")
    verdict = verdict_on(host.serves("/x.pth", Reply(status=status, headers={"Location": "/signed?until=tomorrow"})))
    assert (verdict.state, verdict.moved_to) == ("alive", None)


def test_an_address_has_moved_as_far_as_its_redirects_are_permanent(host: Host) -> None:
    host.serves("/a", Reply(status=301, headers={"Location": "/b"}))
    host.serves("/b", Reply(status=308, headers={"Location": "/c"}))
    host.serves("/c", Reply(status=302, headers={"Location": "/d"}))
    host.serves("/d", Reply(status=301, headers={"Location": "/e"}))
    host.serves("/e", b"weights")
    verdict = verdict_on(host.address + "/a")
    assert (verdict.state, verdict.moved_to) == ("moved", host.address + "/c")


def test_an_address_that_moved_to_a_dead_one_is_dead(host: Host) -> None:
    verdict = verdict_on(host.serves("/x.pth", Reply(status=301, headers={"Location": "/gone"})))
    assert (verdict.state, verdict.outcome) == ("dead", "answered 404 Not Found")
    assert verdict.moved_to == host.address + "/gone"


@pytest.mark.parametrize(
    ("start", "again"),
    [(b"", b"H"), (b"HTTP/1.1 200 OK\r\nX: ", b"a"), (b"", b"HTTP/1.1 100 Continue\r\n\r\n")],
)
def test_a_server_that_never_ends_its_answer_is_given_up(host: Host, start: bytes, again: bytes) -> None:
    address = host.serves("/x.pth", Reply(start, forever=again, slow=0.05))
    verdict = verdict_on(address, waits=SOON)
    assert (verdict.state, verdict.outcome) == ("dead", "timed out after 0.2 s without an answer")


def test_slow_redirects_share_one_deadline(host: Host) -> None:
    slow = Reply(b"HTTP/1.1 302 Found\r\n", forever=b"Location: /x.pth\r\nContent-Length: 0\r\n\r\n", slow=0.15)
    verdict = verdict_on(host.serves("/x.pth", slow), waits=Timeouts(0.1, 0.2))
    assert verdict.state == "dead"
    assert verdict.outcome in ("did not end its redirects within 0.6 s", "timed out after 0.2 s without an answer")
    assert host.asked["/x.pth"] < 11


def test_a_host_that_costs_too_much_time_is_given_up_although_it_answered_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_check, "MAX_FAILED_SECONDS", 0.5)
    addresses = [host.serves("/0", b"weights")]
    addresses += [host.serves(f"/{number}", Reply(b"", forever=b"H", slow=0.05)) for number in range(1, 40)]
    verdicts = check_links([Link(address) for address in addresses], NO_PROGRESS, SOON)
    assert verdicts[0].state == "alive"
    assert {verdict.outcome for verdict in verdicts[1:]} == {"timed out after 0.2 s without an answer"}
    assert sum(verdict.milliseconds is None for verdict in verdicts) > 20


@pytest.mark.parametrize("kind", ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml"])
def test_a_web_page_in_the_place_of_a_file_is_dead_however_it_is_labelled(host: Host, kind: str) -> None:
    verdict = verdict_on(host.serves("/x.pth", Reply(b"<html>", headers={"Content-Type": kind})))
    assert (verdict.state, verdict.outcome) == ("dead", "sent a web page, not a file")


def test_this_machine_is_asked_past_any_proxy(host: Host, dead_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", dead_address)
    assert verdict_on(host.serves("/x.pth", b"weights")).state == "alive"


def test_redirects_in_a_circle_end(host: Host) -> None:
    verdict = verdict_on(host.serves("/x.pth", Reply(status=302, headers={"Location": "/x.pth"})))
    assert (verdict.state, verdict.outcome) == ("dead", "redirected more than 10 times")


@pytest.mark.parametrize(
    "target", ["http://far.example/x.pth", "file:///etc/passwd", "ftp://far.example/x", "http://["]
)
def test_a_file_is_not_followed_to_where_downloads_would_not_go(host: Host, target: str) -> None:
    verdict = verdict_on(host.serves("/x.pth", Reply(status=301, headers={"Location": target})))
    assert verdict.state == "dead"
    assert verdict.outcome.startswith("redirected to ")


def test_a_page_may_be_plain_http_and_lead_there(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", host.address)
    host.serves("http://people.example/me", Reply(status=301, headers={"Location": "http://moved.example/me"}))
    host.serves("http://moved.example/me", Reply(b"<html>", headers={"Content-Type": "text/html"}))
    verdict = verdict_on("http://people.example/me", page=True)
    assert (verdict.state, verdict.moved_to) == ("moved", "http://moved.example/me")


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/x", "http://localhost/x", "file:///etc/passwd"])
def test_a_page_of_the_network_cannot_redirect_into_this_machine(
    host: Host, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", host.address)
    host.serves("http://people.example/me", Reply(status=301, headers={"Location": target}))
    verdict = verdict_on("http://people.example/me", page=True)
    assert verdict.state == "dead"
    assert verdict.outcome.startswith("redirected to ")
    assert host.asked["http://people.example/me"] == 1


def test_a_file_by_plain_http_is_requested_only_where_a_digest_is_recorded(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", host.address)
    address = "http://far.example/x.pth"
    host.serves(address, b"weights")
    verdict = verdict_on(address)
    assert (verdict.state, verdict.milliseconds) == ("dead", None)
    assert "plain http" in verdict.outcome
    assert not host.asked
    (with_digest,) = check_links([Link(address, digest_known=True)], NO_PROGRESS)
    assert with_digest.state == "alive"


@pytest.mark.parametrize(("page", "state"), [(False, "dead"), (True, "alive")])
def test_a_web_page_is_no_file(host: Host, page: bool, state: str) -> None:
    reply = Reply(b"<html>our new site", headers={"Content-Type": "text/html; charset=utf-8"})
    assert verdict_on(host.serves("/x.pth", reply), page=page).state == state


def test_an_address_without_a_server_is_dead(dead_address: str) -> None:
    assert verdict_on(dead_address + "/x.pth").outcome == "refused the connection"


def test_a_silent_server_times_out(host: Host) -> None:
    verdict = verdict_on(host.serves("/x.pth", Reply(silent=True)), waits=SOON)
    assert verdict.outcome == "timed out after 0.2 s without an answer"


def test_a_host_that_does_not_answer_is_asked_a_few_times_and_not_a_hundred(host: Host, told: Told) -> None:
    links = [Link(host.serves(f"/{number}.pth", Reply(silent=True))) for number in range(100)]
    verdicts = check_links(links, told, SOON)
    assert {verdict.outcome for verdict in verdicts} == {"timed out after 0.2 s without an answer"}
    assert {verdict.state for verdict in verdicts} == {"dead"}
    asked = [verdict for verdict in verdicts if verdict.milliseconds is not None]
    assert MAX_HOST_FAILURES <= len(asked) <= MAX_HOST_FAILURES + PER_HOST
    assert sum(count for path, count in host.asked.items() if not path.startswith("HEAD")) == len(asked)
    assert (told.tasks, told.done) == ([("Checking", 100)], 100)


def test_a_host_that_answers_now_and_then_is_requested_everything(host: Host) -> None:
    links = [Link(host.serves("/first.pth", b"weights"))]
    links += [Link(host.serves(f"/{number}.pth", Reply(silent=True))) for number in range(6)]
    verdicts = check_links(links, NO_PROGRESS, SOON)
    assert [verdict.milliseconds is None for verdict in verdicts] == [False] * 7


def test_one_dead_host_does_not_speak_for_another(host: Host, dead_address: str) -> None:
    links = [Link(f"{dead_address}/{number}.pth") for number in range(9)]
    links.insert(4, Link(host.serves("/x.pth", b"weights")))
    states = [verdict.state for verdict in check_links(links, NO_PROGRESS)]
    assert states == ["dead"] * 4 + ["alive"] + ["dead"] * 5


def test_four_at_a_time_are_asked_of_one_host_and_never_more() -> None:
    """Every request waits until four are there, so fewer at a time would not get on."""
    together, now, most = threading.Barrier(PER_HOST), 0, 0
    lock = threading.Lock()

    class Counting(Handler):
        def do_HEAD(self) -> None:  # noqa: N802  (the name that http.server calls)
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            together.wait(timeout=60)
            with lock:
                now -= 1
            self.close_connection = True
            self._answer(Reply())

    with QuietServer(("127.0.0.1", 0), Counting) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        verdicts = check_links([Link(f"{base}/{number}") for number in range(5 * PER_HOST)], NO_PROGRESS)
        server.shutdown()
        thread.join()
    assert {verdict.state for verdict in verdicts} == {"alive"}
    assert most == PER_HOST


def test_a_shared_folder_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "our zoo").mkdir()
    (tmp_path / "our zoo" / "x.pth").write_bytes(b"weights")
    base = (tmp_path / "our zoo").as_uri()
    links = [Link(f"{base}/x.pth"), Link(f"{base}/none.pth"), Link(base), Link("file://elsewhere/x.pth")]
    verdicts = check_links(links, NO_PROGRESS)
    assert [verdict.state for verdict in verdicts] == ["alive", "dead", "dead", "dead"]
    assert verdicts[1].outcome == "has no such file"
    assert {verdict.host for verdict in verdicts} == {"this machine"}


def test_a_mirror_on_hugging_face_without_the_package_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    verdict = verdict_on("hf://lab/zoo/det/models/x.pth")
    assert (verdict.host, verdict.state) == ("hf://lab/zoo", "dead")
    assert "huggingface_hub is needed" in verdict.outcome


class Interrupted(Told):
    def advance(self, amount: int) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_waits_for_no_server_and_nothing_more_is_requested(host: Host) -> None:
    links = [Link(host.serves("/x.pth", b"weights"))]
    links += [Link(host.serves(f"/{number}.pth", Reply(silent=True))) for number in range(40)]
    with pytest.raises(KeyboardInterrupt):
        check_links(links, Interrupted(), Timeouts(connect=60, read=60))
    host.over.set()
    assert len([path for path in host.asked if path.startswith("HEAD")]) <= 1 + PER_HOST


def test_a_fault_of_ours_in_a_thread_is_raised_and_not_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bdd100k_zoo.hub.link_check.describe_status", None)
    with pytest.raises(TypeError):
        verdict_on(host.serves("/x.pth", Reply(status=404)))


def test_no_links_are_no_work(told: Told) -> None:
    assert check_links([], told) == []


CHECK = """
import sys
from bdd100k_zoo.hub.link_check import Link, check_links
from bdd100k_zoo.progress import NO_PROGRESS
(verdict,) = check_links([Link("hf://lab/zoo@v1/det/models/x.pth")], NO_PROGRESS)
print(verdict.state, verdict.outcome)
"""


@pytest.mark.skipif(
    find_spec("huggingface_hub") is None,
    reason="MIRRORS ON HUGGING FACE NOT TESTED: pip install 'bdd100k-zoo[hf]'",
)
@pytest.mark.parametrize("target", ["same host", "other host"])
def test_the_token_is_sent_to_the_hub_only(host: Host, other_host: Host, target: str) -> None:
    """The hub redirects to where its files are stored, which must not receive the token."""
    storage = host if target == "same host" else other_host
    signed = storage.serves("/storage/x?signed", b"weights")
    host.serves("/lab/zoo/resolve/v1/det/models/x.pth", Reply(status=302, headers={"Location": signed}))
    environment = {**os.environ, "HF_ENDPOINT": host.address, "HF_TOKEN": "hf_mine"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHECK], env=environment, check=True, capture_output=True, text=True
    )
    assert run.stdout == "alive \n"
    assert host.seen_headers[0]["Authorization"] == "Bearer hf_mine"
    assert "Authorization" not in storage.seen_headers[-1]


NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def checked(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> list[CheckedLink]:
    """The built-in zoo with one mirror, on a machine from which nothing can be reached."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, NOBODY)
    return check_zoo_links(zoo, [Mirror("https://mirror.example/zoo")], NO_PROGRESS)


def test_every_address_is_listed_once_in_the_order_of_the_zoo(zoo: Zoo, checked: list[CheckedLink]) -> None:
    addresses = [link.address for link in checked]
    assert len(set(addresses)) == len(addresses)
    artifacts = [model.artifact(what) for model in zoo.models for what in ARTIFACT_KINDS]
    expected = {address for artifact in artifacts for address in artifact.addresses}
    expected |= {address for artifact in artifacts for address in artifact.digest_addresses}
    expected |= {Mirror("https://mirror.example/zoo").address(model.artifact("weights")) for model in zoo.models}
    assert {link.address for link in checked if link.file} == expected
    pages = {family.paper.address for family in zoo.families} | {family.code for family in zoo.families}
    pages |= {author.page for family in zoo.families for author in family.authors}
    assert {link.address for link in checked if not link.file} == pages - {None}
    assert addresses[0] == zoo.models[0].weights.address
    assert not checked[-1].file


def test_a_shared_address_lists_each_use(zoo: Zoo, checked: list[CheckedLink]) -> None:
    uses = {link.address: link.uses for link in checked}
    assert uses[zoo.models[0].weights.address] == (f"weights of {zoo.models[0].name}",)
    shared = [use for each in uses.values() if len(each) > 1 for use in each]
    assert "code of Faster R-CNN" in shared
    assert "code of RetinaNet" in shared
    people = Counter(author.name for family in zoo.families for author in family.authors if author.page)
    several = next(name for name, count in people.items() if count > 1)
    assert sum(f"page of {several}" in each for each in uses.values()) == 1


def test_where_nothing_can_be_reached_no_host_is_asked_more_than_a_few_times(checked: list[CheckedLink]) -> None:
    assert {link.state for link in checked} == {"dead"}
    assert {link.outcome for link in checked} == {"cannot be reached through the proxy of this environment"}
    asked = Counter(link.host for link in checked if link.milliseconds is not None)
    assert len(asked) > 30
    assert max(asked.values()) < 10


def test_a_page_that_is_also_a_file_follows_the_rules_for_files(zoo: Zoo) -> None:
    from msgspec.structs import replace

    address = "http://far.example/x.pth"
    model = replace(zoo.models[0], weights=replace(zoo.models[0].weights, address=address, alternates=()), md5=None)
    bare = replace(model, predictions=None, visuals=None, scores_val=None, scores_test=None)
    family = replace(zoo.families[0], code=address, authors=(), paper=replace(zoo.families[0].paper, address=address))
    (link,) = check_zoo_links(Zoo((family,), (bare,)), (), NO_PROGRESS)
    assert link.uses == (f"weights of {model.name}", "paper of Faster R-CNN", "code of Faster R-CNN")
    assert link.file
    assert "plain http" in link.outcome
