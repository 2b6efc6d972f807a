"""The `choros` command."""

import functools
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

from choros.cli import (
    application,
    contract,
    dead,
    facts,
    facts_fail,
    flow,
    health,
    lock,
    migrate,
    saga,
    schedule,
    schema,
    settings,
    starts,
    topology,
    unclaimed,
    unfinished,
)
from choros.cli.departure import Leaving
from choros.cli.environment import settle
from choros.cli.exit_codes import INTERRUPTED, exit_code
from choros.cli.output import styled
from choros.cli.verbosity import LogLevel, Quiet, said_outside
from choros.cli.verbs import Verbs
from choros.errors import ChorosError, UsageError
from choros.version import __version__

app = Verbs(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sagas and facts on RabbitMQ.",
)
app.add_typer(application.app)
app.add_typer(contract.app)
app.add_typer(health.app)
app.add_typer(settings.app)
saga.app.add_typer(unclaimed.app)
app.add_typer(saga.app, name="saga")
app.add_typer(schedule.app, name="schedule")
app.add_typer(lock.app, name="lock")
facts.app.add_typer(facts_fail.app)
app.add_typer(facts.app, name="facts")
app.add_typer(flow.app, name="flow")
app.add_typer(dead.app, name="dead")
app.add_typer(unfinished.app, name="unfinished")
app.add_typer(starts.app, name="starts")
app.add_typer(migrate.app, name="migrate")
app.add_typer(schema.app, name="schema")
app.add_typer(topology.app, name="topology")


@functools.cache
def _command() -> Callable[..., object]:
    """Built once for each process: it takes some milliseconds. Packages beside this one add commands of theirs."""
    for beside in entry_points(group="choros.commands"):
        beside.load()(app)
    return typer.main.get_command(app)


def process() -> None:
    """`main` in a process that has nothing else to do, and may end by force."""
    Leaving.owns_process = True
    main()


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"choros {__version__}")
        raise typer.Exit


@app.callback()
def choros(
    version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="print the version")
    ] = False,
    quiet: Quiet = False,
    log_level: LogLevel = "",
) -> None:
    """Sagas and facts on RabbitMQ."""
    said_outside(quiet, log_level)


def main() -> None:
    """Run the command; an error is one line with a hint, and an exit code."""
    try:
        sys.exit(_run())
    except ChorosError as error:
        sys.exit(_say(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run() -> int:
    try:
        settle()
        code = _command()(standalone_mode=False, prog_name="choros")
    except Exception as error:
        if (said := getattr(error, "format_message", None)) is None:
            raise
        raise _in_our_words(str(said()), getattr(error, "ctx", None)) from None
    return code if isinstance(code, int) else 0


def _in_our_words(sentence: str, context: Any) -> UsageError:
    """What is wrong with a command line typer says, which does not export how: as every error of ours looks."""
    path = context.command_path if context else "choros"
    said = " ".join(sentence.split()).rstrip(".")
    return UsageError(said if said.endswith("?") else f"{said}.", f"{path} --help.")


def _say(error: ChorosError) -> int:
    print(f"{styled('✖', 'red', sys.stderr)} {error}", file=sys.stderr)
    return exit_code(error)
