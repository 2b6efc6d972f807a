"""Help pages: what it does, how it is called, its options, examples; plain text, as wide as the terminal."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from choros.cli.output import styled
from choros.cli.verbosity import OPTIONS

WIDEST = 100
"""Lines that are longer than this nobody reads."""
_COLUMN = 26
"""Where what is said of an option begins at most; a longer one has a line of its own."""
_WORDS = {"help": "print this page", "install_completion": "teach the shell to complete commands, once",
          "show_completion": "print what --install-completion writes"}  # fmt: skip
_ALWAYS = ("help", *OPTIONS)


def page(command: Any, context: Any, examples: Sequence[str] = ()) -> str:
    """The help page of a command or group."""
    first, *rest = _paragraphs(command.help or "")
    shown = [one for one in command.get_params(context) if not getattr(one, "hidden", False)]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    own = [one for one in options if one.name not in _ALWAYS]
    always = [one for one in options if one.name in _ALWAYS]
    blocks = [
        _wrapped(first),
        f"{_title('Usage:')} {_usage(command, context, arguments)}",
        *map(_wrapped, rest),
        _section("Arguments", [(_name_of(one), _said_of(one)) for one in arguments]),
        _section("Commands", list(_commands(command, context))),
        _section("Options", [(_flags(one), _said_of(one)) for one in own]),
        _section("Everywhere", [(_flags(one), _said_of(one)) for one in always]),
        _examples(examples),
    ]
    return "\n\n".join(block for block in blocks if block)


def _paragraphs(text: str) -> list[str]:
    return [" ".join(one.split()) for one in text.split("\n\n") if one.strip()] or [""]


def _width() -> int:
    return min(shutil.get_terminal_size().columns, WIDEST)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, _width(), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _title(text: str) -> str:
    return styled(text, "bold", sys.stdout)


def _section(title: str, rows: Sequence[tuple[str, str]]) -> str:
    column = min(_COLUMN, max((len(name) for name, _ in rows), default=0) + 4)
    return "\n".join([_title(f"{title}:"), *(line for row in rows for line in _row(*row, column))]) if rows else ""


def _row(name: str, said: str, column: int) -> Iterator[str]:
    lines = textwrap.wrap(said, _width() - column, break_on_hyphens=False, break_long_words=False) or [""]
    head = f"  {name}"
    if len(head) > column - 2:
        yield _coloured(head, name)
    else:
        yield _coloured(head.ljust(column), name) + lines.pop(0)
    yield from (" " * column + line for line in lines)


def _coloured(text: str, name: str) -> str:
    return text.replace(name, styled(name, "cyan", sys.stdout), 1)


def _examples(examples: Sequence[str]) -> str:
    return "\n".join([_title("Examples:"), *(f"  $ choros {line}" for line in examples)]) if examples else ""


# --- of a command -----------------------------------------------------------------------------------------------------


def _usage(command: Any, context: Any, arguments: Iterable[Any]) -> str:
    words = [context.command_path, "[OPTIONS]"]
    words += [_name_of(one) if _needed(one) else f"[{_name_of(one)}]" for one in arguments]
    words += ["COMMAND"] if hasattr(command, "list_commands") else []
    return " ".join(words)


def _needed(argument: Any) -> bool:
    return (argument.required and not argument.envvar) or _name_of(argument).startswith("[")


def _commands(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            yield name, _paragraphs(found.help or "")[0]


def _name_of(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _flags(option: Any) -> str:
    short = [one for one in option.opts if not one.startswith("--")]
    long = [one for one in option.opts if one.startswith("--")]
    names = ", ".join([*short, *long]) if short else f"    {', '.join(long)}"
    value = "" if option.is_flag or getattr(option, "count", False) else option.metavar or long[-1].lstrip("-").upper()
    return f"{names} {value}".rstrip()


def _said_of(param: Any) -> str:
    """With what it is if nothing is said, and the variables of the environment that say it."""
    said = [_WORDS.get(param.name) or param.help or ""]
    variables = [param.envvar] if isinstance(param.envvar, str) else list(param.envvar or ())
    if variables:
        said.append(f"[env: {', '.join(variables)}]")
    if param.show_default and param.default not in (None, "", False) and not callable(param.default):
        said.append(f"[default: {param.default}]")
    return " ".join(filter(None, said))
