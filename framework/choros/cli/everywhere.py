"""What every command can be told, before or behind its name: to be quiet, and how much of the log is wanted."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from choros.cli.output import be_quiet
from choros.errors import UsageError, unknown

LEVELS = ("debug", "info", "warning", "error")
OPTIONS = ("quiet", "log_level")
"""The parameters that every command has."""
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress and no remarks: the answer, and errors")]
LogLevel = Annotated[
    str,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        envvar=["CHOROS_LOG_LEVEL"],
        help="what is logged: debug, info, warning or error",
    ),
]
_outside = {"quiet": False}
_level = {"outside": "", "said": ""}


def said_outside(quiet: bool, level: str) -> None:
    """Before the name of the command: it counts if nothing is said behind it."""
    _outside["quiet"], _level["outside"] = quiet, _known(level)


def log_level(usual: str) -> str:
    """What is to be logged: as it was said, or as it is usual here."""
    return (_level["said"] or usual).upper()


def _known(level: str) -> str:
    if level and level.lower() not in LEVELS:
        raise UsageError(*unknown(f"There is no log level {level!r}.", level, LEVELS))
    return level


def told_everywhere(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command with these options."""

    @functools.wraps(function)
    def command(*given: Any, quiet: bool, log_level: str, **more: Any) -> Any:
        be_quiet(quiet or _outside["quiet"])
        _level["said"] = _known(log_level) or _level["outside"]
        return function(*given, **more)

    hints = {**get_type_hints(function, include_extras=True), "quiet": Quiet, "log_level": LogLevel}
    parameters = list(inspect.signature(function).parameters.values())
    ours = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in OPTIONS]
    defaults = {"quiet": False, "log_level": ""}
    resolved = [
        one.replace(annotation=hints[one.name], default=defaults.get(one.name, one.default))
        for one in (*parameters, *ours)
    ]
    command.__dict__["__signature__"] = inspect.Signature(resolved, return_annotation=hints.get("return"))
    command.__annotations__ = hints
    return command
