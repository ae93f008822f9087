"""Mirrors, copies of the published host that a user configures: by https, in a folder, on Hugging Face.

``SCHEMES`` at the end lists the kinds of address.
"""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from bdd100k_zoo.errors import MissingPackageError, SettingsError, docs_page
from bdd100k_zoo.hub.layout import mirror_digest_path, mirror_path
from bdd100k_zoo.registry.addresses import (
    FORBIDDEN_CHARACTERS,
    REDACTION,
    address_problem,
    is_tamper_proof,
    redact_address,
)
from bdd100k_zoo.registry.settings import read_settings, settings_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bdd100k_zoo.registry import Artifact

SUBJECT = "the address of a mirror"
MIRRORS_VARIABLE = "BDD100K_ZOO_MIRRORS"

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
HUB_ADDRESS = re.compile(rf"hf://(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[^/@]+))?(?:/(?P<path>.*))?")
NON_MODEL_PREFIXES = ("datasets", "spaces", "buckets", "kernels", "models")
"""Prefixes of Hugging Face's other kinds of repository, in the place of an organisation."""


class Mirror(NamedTuple):
    """A place that has the published files in the layout of their host."""

    base: str
    """As the user wrote it, checked, without a slash at its end."""

    def address(self, artifact: Artifact) -> str:
        """Return where this mirror has an artifact."""
        return f"{self.base}/{quote(mirror_path(artifact))}"

    def digest_address(self, artifact: Artifact) -> str:
        """Return where this mirror has the MD5 digest of an artifact."""
        return f"{self.base}/{quote(mirror_digest_path(artifact))}"


def configured_mirrors(
    environment: Mapping[str, str] = os.environ, config_file: Path | None = None
) -> tuple[Mirror, ...]:
    """Return the mirrors of BDD100K_ZOO_MIRRORS, separated by commas; if it is not set, the configuration file's.

    Args:
        environment: the variables of this process, or others.
        config_file: where the settings are; None for the file that ``environment`` or the platform names.

    Raises:
        SettingsError: a mirror is malformed, or the configuration file is.
    """
    bases: Sequence[str]
    if listed := environment.get(MIRRORS_VARIABLE, "").strip():
        setting, bases = MIRRORS_VARIABLE, listed.split(",")
    else:
        file = config_file or settings_file(environment)
        setting, bases = f"mirrors in {file}", read_settings(file).mirrors or ()
    mirrors = []
    for base, following in pairwise([*(base.strip() for base in bases), ""]):
        if base and (problem := mirror_problem(base)):
            if "@" in following and "://" not in following:
                base = f"{base},{following}"  # a password that contains a comma
            raise SettingsError(setting, _without_secrets(base), problem, MIRRORS_HINT)
        if base:
            scheme, _, rest = base.partition("://")
            mirrors.append(Mirror(f"{scheme}://{rest.rstrip('/')}"))
    return tuple(dict.fromkeys(mirrors))


def _without_secrets(base: str) -> str:
    return re.sub(r"[?#].*", f"?{REDACTION}", redact_address(base))


def mirror_problem(base: str) -> str:
    """Return why an address cannot be the base of a mirror; empty if it can."""
    name, separator, rest = base.partition("://")
    if any(character.isspace() or not character.isprintable() for character in base):
        return "has spaces or control characters; write a space as %20"
    if name not in SCHEMES or not separator:
        return f"is none of {FORMS}" + (f"; this folder is written file://{base}" if base.startswith("/") else "")
    if name != "hf" and "@" in rest.partition("/")[0]:
        return "has credentials, which would be shown with every address; put them into ~/.netrc"
    if "?" in base or "#" in base:
        return "has a query or a fragment; files are requested by their paths below the base"
    if stray := next((character for character in base if character in FORBIDDEN_CHARACTERS), ""):
        return f"has {stray!r}, which no address may have"
    return SCHEMES[name].problem(base) or _path_problem(rest)


def _web_problem(base: str) -> str:
    return "is malformed: expected https://HOST[:PORT]/…" if address_problem(base) else ""


def _file_problem(base: str) -> str:
    host, slash, path = base.removeprefix("file://").partition("/")
    if host.startswith("~") or path.startswith("~"):
        return "has a `~`, which is not expanded here: write the full path, as in file:///home/NAME/FOLDER"
    if host not in ("", "localhost") or not slash:
        return "is no absolute path: write a folder of this machine as file:///ABSOLUTE/FOLDER, with three slashes"
    return ""


def _hub_problem(base: str) -> str:
    found = HUB_ADDRESS.fullmatch(base)
    if not found:
        return f"is not of the form {SCHEMES['hf'].form}"
    repo, revision, path = found["repo"], found["revision"] or "", found["path"] or ""
    if repo.partition("/")[0] in NON_MODEL_PREFIXES:
        return "is another kind of repository; a mirror is a repository of models, hf://ORG/REPO"
    if "--" in repo or ".." in repo or repo.endswith(".git"):
        return "is no valid name of a repository"
    if "//" in "/" + unquote(path).rstrip("/"):
        return "has a folder without a name"
    return _path_problem(revision)


def _path_problem(path: str) -> str:
    plain = unquote(path)
    if not all(character.isprintable() for character in plain):
        return "has an escaped control character"
    if any(part in (".", "..") for part in re.split(r"[/\\]", plain)):
        return "has a `.` or `..` in its path"
    return ""


def local_path(address: str) -> Path | None:
    """Return the file that a ``file://`` address names; None for any other address.

    Raises:
        SettingsError: the path is relative, another machine's, or has characters that no file name has.
    """
    if not address.startswith("file:"):
        return None
    if problem := mirror_problem(address):
        raise SettingsError(SUBJECT, _without_secrets(address), problem, MIRRORS_HINT)
    return Path("/" + unquote(address.removeprefix("file://").partition("/")[2]))


def resolve_address(address: str) -> tuple[str, dict[str, str]]:
    """Return the URL to request, and further headers; for schemes that are requested as they are, the address itself.

    The headers hold tokens for the host of that URL alone: they must not go to where it redirects.

    Raises:
        MissingPackageError: it is on Hugging Face, and huggingface_hub is not installed.
        SettingsError: an address of another scheme than http and https is malformed.
    """
    scheme = SCHEMES.get(address.partition(":")[0])
    if scheme is None or scheme.resolve is None:
        return address, {}
    if problem := mirror_problem(address):
        raise SettingsError(SUBJECT, _without_secrets(address), problem, MIRRORS_HINT)
    return scheme.resolve(address)


def _resolve_hub(address: str) -> tuple[str, dict[str, str]]:
    try:
        from huggingface_hub import constants, get_token, hf_hub_url
    except ImportError as error:
        raise MissingPackageError("huggingface_hub", "hf", f"{error} (the extra `hf` brings it)") from error
    found = HUB_ADDRESS.fullmatch(address)
    assert found  # noqa: S101  (``_hub_problem`` has checked it)
    revision = unquote(found["revision"]) if found["revision"] else None
    url = str(hf_hub_url(found["repo"], unquote(found["path"] or ""), revision=revision))
    # The token is withheld where others on the way could read it.
    withheld = constants.HF_HUB_DISABLE_IMPLICIT_TOKEN or not is_tamper_proof(url)
    token = None if withheld else get_token()
    return url, {"Authorization": f"Bearer {token}"} if token else {}


class Scheme(NamedTuple):
    """One kind of address that a mirror may have."""

    form: str
    """How users write it."""
    problem: Callable[[str], str]
    """Returns why a base cannot be one; empty if it can. What no address may have is checked before."""
    resolve: Callable[[str], tuple[str, dict[str, str]]] | None = None
    """Returns the URL to request and private headers; None if the address itself is requested or opened."""


SCHEMES = {
    "https": Scheme("https://HOST/…", _web_problem),
    "http": Scheme("http://HOST/…", _web_problem),
    "file": Scheme("file:///ABSOLUTE/FOLDER", _file_problem),
    "hf": Scheme("hf://ORG/REPO[@REVISION][/FOLDER]", _hub_problem, _resolve_hub),
}
FORMS = ", ".join(scheme.form for name, scheme in SCHEMES.items() if name != "http")
"""Those to recommend: over plain http, anyone on the way can change a file."""
MIRRORS_HINT = f"mirrors are written {FORMS}; examples: {docs_page('mirrors')}"
