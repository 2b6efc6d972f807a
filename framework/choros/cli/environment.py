"""Settings by environment, by a file, and by secrets that are files: what is in force, and where that is from.

The environment goes before secrets, and those before the file. What these two say is put into the environment before
a command reads its options, so each option that a variable sets is set by them as well."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from choros.app.settings import SETTINGS
from choros.cli.output import TableRow
from choros.errors import shown, unknown
from choros.roles.settings_files import FILE, PREFIX, SECRETS, sources

_BESIDE = {
    "CHOROS_NAMESPACE": "another namespace than the application's own",
    "CHOROS_LOG_ERROR_TEXT": "0 leaves out the words of exceptions",
    FILE: "a file of settings, NAME=value in each line",
    SECRETS: "a folder of files, each named as what it sets",
}
"""Variables that no option stands for."""
_from: dict[str, str] = {}
"""Where a variable is from that neither a person nor a supervisor has set."""


def settle() -> None:
    """Put into the environment what the file and the secrets say, where that says nothing; raises UsageError for what
    cannot be read, and for a name that nothing has."""
    for source, said in sources():
        for name, value in said.items():
            if name not in os.environ:
                os.environ[name], _from[name] = value, source


def variables(group: Any) -> dict[tuple[str, ...], str]:
    """The variables that options of these commands are set by, the first that is there, each with its default."""
    found: dict[str, tuple[tuple[str, ...], str]] = {}
    for names, default in _options(group):
        known, said = found.get(names[0], ((), ""))
        found[names[0]] = max(known, names, key=len), said or default
    return dict(found.values())


def _options(group: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    for one in getattr(group, "commands", {}).values():
        yield from _options(one)
    for option in getattr(group, "params", ()):
        names = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
        if names:
            yield tuple(names), option.default if isinstance(option.default, str) else ""


def in_force(group: Any) -> list[TableRow]:
    """A row for each thing that may be set."""
    known = variables(group)
    known.update({(name,): "" for name in _BESIDE})
    return [_row(names, default) for names, default in sorted(known.items())]


def _row(names: tuple[str, ...], default: str) -> TableRow:
    setting = next((one for one in SETTINGS.values() if one.variable == names[0]), None)
    default = setting.shown(setting.default) if setting else default
    name = next((one for one in names if os.environ.get(one)), "")
    source = _from.get(name, "environment" if name == names[0] else name) if name else "default" if default else ""
    value = os.environ.get(name, default)
    return {"name": names[0], "value": "***" if source.startswith("secret") else _masked(value), "from": source}


def _masked(value: str) -> str:
    return shown(value) if "://" in value and ("@" in value or "?" in value) else value


def strangers(group: Any) -> list[str]:
    """Variables that look like settings and are none, each in a sentence."""
    known = [*(name for names in variables(group) for name in names), *_BESIDE]
    named = [name for name in sorted(os.environ) if name.startswith(PREFIX) and name not in known]
    return [" ".join(unknown(f"{name} is no setting.", name, known, "")).strip() for name in named]
