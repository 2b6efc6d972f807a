"""What every command can be told, before or behind its name: to be quiet, and how much of the log is wanted."""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, cast, get_type_hints

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
    """The same command with these options. A parameter that is a dataclass stands for options: one for each field."""
    hints = get_type_hints(function)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind) and isinstance(kind, type)}

    @functools.wraps(function)
    def command(*, quiet: bool, log_level: str, **given: Any) -> Any:
        be_quiet(quiet or _outside["quiet"])
        _level["said"] = _known(log_level) or _level["outside"]
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        return function(**given)

    options = [*_options(function), *_options(_everywhere)]
    command.__dict__["__signature__"] = inspect.Signature(options, return_annotation=hints.get("return"))
    command.__annotations__ = {one.name: one.annotation for one in options}
    return command


def _everywhere(*, quiet: Quiet = False, log_level: LogLevel = "") -> None:
    """What every command has."""


def _options(function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    for one in inspect.signature(function).parameters.values():
        if is_dataclass(kind := hints[one.name]):
            yield from _options(cast("Callable[..., Any]", kind))
        else:
            yield one.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)
