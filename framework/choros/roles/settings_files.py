"""Settings that are not in the environment: in a file, and in secrets that are files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from choros.app.settings import SETTINGS
from choros.errors import UsageError, unknown

FILE, SECRETS = "CHOROS_SETTINGS", "CHOROS_SECRETS"
"""The variables that name a file of settings, and a folder with a file for each secret."""
PREFIX = "CHOROS_"
_OF_PROCESSES = (
    "APP", "BROKER", "BY", "DATABASE", "HEALTH_FILE", "HTTP", "LOG_ERROR_TEXT", "LOG_LEVEL", "NAMESPACE", "SECRETS",
    "SETTINGS", "STORE",
)  # fmt: skip
KNOWN: Collection[str] = sorted(
    {*(PREFIX + one for one in _OF_PROCESSES), *(one.variable for one in SETTINGS.values())}
)
"""All that may be set."""


def sources() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Secrets first, each with where it is from; raises UsageError for what cannot be read, and for a name of ours that
    is no setting."""
    if not (os.environ.get(FILE) or os.environ.get(SECRETS)):
        return
    try:
        from pydantic_settings import BaseSettings, DotEnvSettingsSource
    except ModuleNotFoundError as error:
        sentence = f"{FILE} and {SECRETS} need the package {error.name}."
        raise UsageError(sentence, "pip install 'choros[settings]'.") from None
    if folder := os.environ.get(SECRETS):
        yield f"secret in {folder}", _checked(folder, _secrets(folder))
    if file := os.environ.get(FILE):
        if not Path(file).is_file():
            raise UsageError(f"There is no file of settings {file!r}.", f"{FILE}=/etc/choros.env.")
        try:
            found = DotEnvSettingsSource(BaseSettings, env_file=file, env_file_encoding="utf-8").env_vars
        except (OSError, UnicodeError) as error:
            raise UsageError(f"The file of settings {file!r} cannot be read: {type(error).__name__}.") from None
        said = {name.upper(): value or "" for name, value in found.items()}
        yield f"file {file}", _checked(file, said)


def _secrets(folder: str) -> dict[str, str]:
    """The files there that are called as what is ours; others' secrets may lie beside them."""
    try:
        files = [one for one in Path(folder).iterdir() if one.name.upper().startswith(PREFIX) and one.is_file()]
        return {one.name.upper(): one.read_text(encoding="utf-8").strip() for one in files}
    except (OSError, UnicodeError) as error:
        raise UsageError(f"The secrets in {folder!r} cannot be read: {type(error).__name__}.") from None


def _checked(where: str, said: Mapping[str, str]) -> dict[str, str]:
    """What of it is ours."""
    mine = {name: value for name, value in said.items() if name.startswith(PREFIX)}
    for name in mine:
        if name not in KNOWN:
            raise UsageError(*unknown(f"{where}: there is no setting {name}.", name, KNOWN, "choros settings."))
    return mine


def set_somewhere() -> dict[str, str]:
    """All that is set, by name: the environment goes before secrets, and those before the file. Raises UsageError."""
    found: dict[str, str] = dict(os.environ)
    for _, said in sources():
        found = {**said, **found}
    return found
