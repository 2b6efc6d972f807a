"""The `choros` command."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from choros.cli import application, contract, facts, health, saga, schema, sim, topology, verify
from choros.cli.leaving import Leaving
from choros.errors import ChorosError, masked


class _Masking(TyperGroup):
    """What is wrong with a command line is quoted, and an address may stand anywhere in one."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _masking():
            return super().make_context(*args, **kwargs)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        with _masking():
            return super().invoke(*args, **kwargs)


@contextmanager
def _masking() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(message := getattr(error, "message", None), str):
            error.message = masked(message)  # type: ignore[attr-defined] # typer's own errors, which it does not export
        raise


app = typer.Typer(
    cls=_Masking,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    help="Sagas and facts on RabbitMQ.",
)
app.add_typer(application.app)
app.add_typer(contract.app)
app.add_typer(health.app)
app.add_typer(verify.app)
app.add_typer(saga.app, name="saga")
app.add_typer(facts.app, name="facts")
app.add_typer(schema.app, name="schema")
app.add_typer(sim.app, name="sim")
app.add_typer(topology.app, name="topology")


@functools.cache
def _command() -> Callable[[], object]:
    """Built once for each process: it takes some milliseconds."""
    return typer.main.get_command(app)


def process() -> None:
    """`main` in a process that has nothing else to do, and may end by force."""
    Leaving.owns_process = True
    main()


def main() -> None:
    """Run the command; an error is one line with a hint, and an exit code."""
    try:
        _command()()
    except ChorosError as error:
        sys.exit(_say(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _say(error: ChorosError) -> int:
    print(f"✖ {error}", file=sys.stderr)
    return error.exit_code
