"""Every address of the zoo and of mirrors is checked, each once, with all that it is for."""

from __future__ import annotations

from collections import Counter

import pytest

from bdd100k_zoo.hub.link_check import CheckedLink, check_zoo_links
from bdd100k_zoo.hub.mirrors import Mirror
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import ARTIFACT_KINDS, Zoo

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def checked(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> list[CheckedLink]:
    """The built-in zoo with one mirror, on a machine from which nothing can be reached."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, NOBODY)
    return check_zoo_links(zoo, [Mirror("https://mirror.example/zoo")], NO_PROGRESS)


def test_every_address_stands_there_once_in_the_order_of_the_zoo(zoo: Zoo, checked: list[CheckedLink]) -> None:
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


def test_an_address_that_several_name_says_so_for_each(zoo: Zoo, checked: list[CheckedLink]) -> None:
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


def test_a_page_that_is_a_file_too_is_held_to_the_rules_for_files(zoo: Zoo) -> None:
    from msgspec.structs import replace

    address = "http://far.example/x.pth"
    model = replace(zoo.models[0], weights=replace(zoo.models[0].weights, address=address, alternates=()), md5=None)
    bare = replace(model, predictions=None, visuals=None, scores_val=None, scores_test=None)
    family = replace(zoo.families[0], code=address, authors=(), paper=replace(zoo.families[0].paper, address=address))
    (link,) = check_zoo_links(Zoo((family,), (bare,)), (), NO_PROGRESS)
    assert link.uses == (f"weights of {model.name}", "paper of Faster R-CNN", "code of Faster R-CNN")
    assert link.file
    assert "plain http" in link.outcome
