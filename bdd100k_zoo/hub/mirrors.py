"""Copies of the published host that a user knows of: by https, in a folder, on Hugging Face."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from bdd100k_zoo.errors import MissingPackageError, SettingsError
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
    from collections.abc import Callable, Mapping

    from bdd100k_zoo.registry import Artifact

SUBJECT = "the address of a mirror"
MIRRORS_VARIABLE = "BDD100K_ZOO_MIRRORS"
HUB_FORM = "is not of the form hf://ORG/REPO[@REVISION][/FOLDER]"
MIRROR_FORMS = "https://HOST/…, file:///ABSOLUTE/FOLDER and hf://ORG/REPO[@REVISION][/FOLDER]"

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
HUB_ADDRESS = re.compile(rf"hf://(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[^/@]+))?(?:/(?P<path>.*))?")
NON_MODEL_PREFIXES = ("datasets", "spaces", "buckets", "kernels", "models")
"""What stands in the place of an organisation in addresses of the hub's other kinds of repository."""


class Mirror(NamedTuple):
    """A place that has the published files in the layout of their host."""

    base: str
    """As the user wrote it, checked, without a slash at its end."""

    def address(self, artifact: Artifact) -> str:
        """Say where this mirror has an artifact."""
        return f"{self.base}/{quote(mirror_path(artifact))}"

    def digest_address(self, artifact: Artifact) -> str:
        """Say where this mirror has the MD5 digest of an artifact."""
        return f"{self.base}/{quote(mirror_digest_path(artifact))}"


def configured_mirrors(
    environment: Mapping[str, str] = os.environ, config_file: Path | None = None
) -> tuple[Mirror, ...]:
    """Give the mirrors of BDD100K_ZOO_MIRRORS, separated by commas; where it is not set, the configuration file's.

    Args:
        environment: the variables of this process, or others.
        config_file: where the settings stand; None for the file that ``environment`` or the platform names.

    Raises:
        SettingsError: a mirror is written wrongly, or the configuration file is.
    """
    listed = environment.get(MIRRORS_VARIABLE, "").strip()
    if listed:
        return _mirrors(MIRRORS_VARIABLE, listed.split(","))
    file = config_file or settings_file(environment)
    return _mirrors(f"mirrors in {file}", read_settings(file).mirrors or ())


def _mirrors(setting: str, bases: list[str] | tuple[str, ...]) -> tuple[Mirror, ...]:
    written = [base.strip() for base in bases]
    for base, following in pairwise([*written, ""]):
        if base and (problem := mirror_problem(base)):
            if "@" in following and "://" not in following:
                base = f"{base},{following}"  # a password that holds a comma
            raise SettingsError(setting, _without_secrets(base), problem)
    return tuple(dict.fromkeys(Mirror(_without_slash(base)) for base in written if base))


def _without_secrets(base: str) -> str:
    return re.sub(r"[?#].*", f"?{REDACTION}", redact_address(base))


def _without_slash(base: str) -> str:
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.rstrip('/')}"


def mirror_problem(base: str) -> str:
    """Say what keeps an address from being the base of a mirror; nothing where it can be one."""
    scheme, separator, rest = base.partition("://")
    if any(character.isspace() or not character.isprintable() for character in base):
        return "holds spaces or control characters; a space is written %20"
    if scheme not in PROBLEMS or not separator:
        return f"is none of {MIRROR_FORMS}" + (
            f"; this folder is written file://{base}" if base.startswith("/") else ""
        )
    if scheme != "hf" and "@" in rest.partition("/")[0]:
        return "holds credentials, which would be shown with every address; put them into ~/.netrc"
    if "?" in base or "#" in base:
        return "has a query or a fragment; files are asked for by their paths below the base alone"
    if stray := next((character for character in base if character in FORBIDDEN_CHARACTERS), ""):
        return f"holds {stray!r}, which no address may"
    return PROBLEMS[scheme](base) or _path_problem(rest)


def _http_problem(base: str) -> str:
    return "is malformed: expected https://HOST[:PORT]/…" if address_problem(base) else ""


def _file_problem(base: str) -> str:
    host, slash, path = base.removeprefix("file://").partition("/")
    if host.startswith("~") or path.startswith("~"):
        return "has a `~`, which stands for nothing here: write the folder in full, as in file:///home/NAME/FOLDER"
    if host not in ("", "localhost") or not slash:
        return "is no absolute path: a folder of this machine is written file:///ABSOLUTE/FOLDER, with three slashes"
    return ""


def _hub_problem(base: str) -> str:
    found = HUB_ADDRESS.fullmatch(base)
    if not found:
        return HUB_FORM
    repo, revision, path = found["repo"], found["revision"] or "", found["path"] or ""
    if repo.partition("/")[0] in NON_MODEL_PREFIXES:
        return "is another kind of repository; a mirror is a repository of models, hf://ORG/REPO"
    if "--" in repo or ".." in repo or repo.endswith(".git"):
        return "names no repository that can be"
    if "//" in "/" + unquote(path).rstrip("/"):
        return "has a folder without a name"
    return _path_problem(revision)


def _path_problem(path: str) -> str:
    plain = unquote(path)
    if not all(character.isprintable() for character in plain):
        return "holds an escaped control character"
    if any(part in (".", "..") for part in re.split(r"[/\\]", plain)):
        return "has a `.` or `..` in its path"
    return ""


PROBLEMS: dict[str, Callable[[str], str]] = {
    "https": _http_problem,
    "http": _http_problem,
    "file": _file_problem,
    "hf": _hub_problem,
}
"""What can be wrong with a base, by its scheme."""


def local_path(address: str) -> Path | None:
    """Give the file that a ``file://`` address names; None for any other address.

    Raises:
        SettingsError: the path is relative, another machine's, or holds what no file name can.
    """
    if not address.startswith("file:"):
        return None
    if problem := mirror_problem(address):
        raise SettingsError(SUBJECT, _without_secrets(address), problem)
    return Path("/" + unquote(address.removeprefix("file://").partition("/")[2]))


def resolve_address(address: str) -> tuple[str, dict[str, str]]:
    """Say what to ask for over HTTP, and with which further headers; any address but ``hf://`` is given as it is.

    The headers are for the host of that address alone: a redirect to another host must not carry them on.

    Raises:
        MissingPackageError: it is on Hugging Face, and huggingface_hub is not installed.
        SettingsError: it is an address ``hf://`` that cannot be.
    """
    if not address.startswith("hf:"):
        return address, {}
    found = HUB_ADDRESS.fullmatch(address)
    if found is None or (problem := mirror_problem(address)):
        raise SettingsError(SUBJECT, _without_secrets(address), problem if found else HUB_FORM)
    revision = unquote(found["revision"]) if found["revision"] else None
    return _asked_of_hub(found["repo"], unquote(found["path"] or ""), revision)


def _asked_of_hub(repo: str, path: str, revision: str | None) -> tuple[str, dict[str, str]]:
    """Name a file's address on the hub, with the user's token where nobody on the way can read it."""
    try:
        from huggingface_hub import constants, get_token, hf_hub_url
    except ImportError as error:
        raise MissingPackageError("huggingface_hub", "hf", f"{error} (the extra `hf` brings it)") from error
    url = str(hf_hub_url(repo, path, revision=revision))
    withheld = constants.HF_HUB_DISABLE_IMPLICIT_TOKEN or not is_tamper_proof(url)
    token = None if withheld else get_token()
    return url, {"Authorization": f"Bearer {token}"} if token else {}
