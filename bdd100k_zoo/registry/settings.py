"""The user's configuration file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import platformdirs

from bdd100k_zoo.errors import SettingsError, docs_page
from bdd100k_zoo.registry.yaml_files import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_VARIABLE = "BDD100K_ZOO_CONFIG"
SETTINGS_HINT = f"an example of this file: {docs_page('mirrors')}"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a configuration file sets."""

    mirrors: tuple[str, ...] | None = None
    """Bases of mirrors, as the user wrote them; an empty list in YAML reads as None."""


def settings_file(environment: Mapping[str, str]) -> Path:
    """Return the configuration file: BDD100K_ZOO_CONFIG if it is set, else the user's of this platform.

    Raises:
        SettingsError: BDD100K_ZOO_CONFIG names a file that does not exist.
    """
    chosen = environment.get(CONFIG_VARIABLE)
    if not chosen:
        return platformdirs.user_config_path("bdd100k-zoo") / "config.yaml"
    path = os.path.expanduser(chosen)  # noqa: PTH111  (Path's own raises RuntimeError for an unknown ~user)
    if not os.path.exists(path):  # noqa: PTH110  (unlike Path.exists, it never raises)
        raise SettingsError(CONFIG_VARIABLE, chosen, "is not there", SETTINGS_HINT)
    return Path(path)


def read_settings(file: Path) -> Settings:
    """Read a configuration file; one that does not exist sets nothing.

    Raises:
        SettingsError: it cannot be read, is not valid YAML, or sets something unknown or of the wrong kind.
    """
    try:
        document = parse_yaml(file.read_bytes())
        return msgspec.convert({} if document is None else document, Settings)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise SettingsError(str(file), "", f"cannot be read: {error.strerror}", SETTINGS_HINT) from error
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        setting = f"{path.rstrip('`')} in {file}" if path else str(file)
        raise SettingsError(setting, "", problem, SETTINGS_HINT) from error
    except ValueError as error:
        raise SettingsError(str(file), "", str(error), SETTINGS_HINT) from error
