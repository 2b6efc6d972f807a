"""The commands of `choros`, all of one kind: the same help pages, the same options everywhere, APP from CHOROS_APP."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from choros.cli.help import page
from choros.cli.verbosity import told_everywhere
from choros.errors import UsageError

APP = "application"
"""The name of the argument that says which application is meant."""
_ID = re.compile(r"[0-9a-f-]*\d[0-9a-f-]*")


class Verb(TyperCommand):
    """One command."""

    examples: Sequence[str] = ()
    needs_app = True

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Its help page."""
        formatter.write(page(self, ctx, self.examples))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Where APP is left out, CHOROS_APP says it."""
        names = [one.name for one in self.params if one.param_type_name == "argument"]
        asked = ctx.resilient_parsing or "--help" in args or "-h" in args  # of a shell that completes, or of a person
        if APP in names and not asked and self._lacks_app(ctx, args, names):
            args = [self._app(), *args] if names[0] == APP else [*args, self._app()]
        return super().parse_args(ctx, args)

    def _lacks_app(self, ctx: Any, args: list[str], names: Sequence[str | None]) -> bool:
        """There are too few words; or, where any number of ids may follow, the first word is one."""
        values, rest, _ = self.make_parser(ctx).parse_args(args=list(args))
        given = sum(isinstance(values.get(name or ""), str) for name in names) + len(rest)
        needed = [one for one in self.params if one.param_type_name == "argument" and one.required]
        first, any_number = values.get(APP), any(one.nargs < 0 for one in self.params)
        return given < len(needed) or (any_number and isinstance(first, str) and bool(_ID.fullmatch(first)))

    def _app(self) -> str:
        found = os.environ.get("CHOROS_APP", "")
        if not found and self.needs_app:
            raise UsageError("No application is named.", "APP, a package.module; or CHOROS_APP for all commands.")
        return found


class Group(TyperGroup):
    """Commands under one name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without any word, its help page."""
        if not args and not ctx.resilient_parsing:
            print(ctx.get_help())
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Its help page."""
        formatter.write(page(self, ctx))


class Verbs(typer.Typer):
    """Where commands are declared."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"cls": Group, **given})

    def command(
        self,
        name: str | None = None,
        *,
        examples: Sequence[str] = (),
        needs_app: bool = True,
        passes_on: bool = False,
        **given: Any,
    ) -> Callable[..., Any]:
        """Declare a command; `examples` are what stands behind `choros `. One that does not need APP, if it has such an
        argument, is given an empty one; one that passes all on to another command has no options of its own."""
        kind = type("Verb", (Verb,), {"examples": tuple(examples), "needs_app": needs_app})
        declare = super().command(name, cls=kind, **given)

        def declared(function: Callable[..., Any]) -> Callable[..., Any]:
            declare(function if passes_on else told_everywhere(function))
            return function

        return declared
