"""The `choros` command."""

from __future__ import annotations

import sys

import typer

from choros.cli import application, facts, health, saga, sim, verify
from choros.errors import ChorosError

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True, help="Sagas and facts on RabbitMQ."
)
app.add_typer(application.app)
app.add_typer(health.app)
app.add_typer(verify.app)
app.add_typer(saga.app, name="saga")
app.add_typer(facts.app, name="facts")
app.add_typer(sim.app, name="sim")


def main() -> None:
    """Run the command; an error is one line with a hint, and an exit code."""
    try:
        app()
    except ChorosError as error:
        sys.exit(_say(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _say(error: ChorosError) -> int:
    print(f"✖ {error}", file=sys.stderr)
    return error.exit_code
