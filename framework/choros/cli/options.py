"""What the commands share: their options, and how they ask a broker and a store."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, TypeVar

import typer

from choros.app.app import App
from choros.app.sending import headers_text
from choros.cli.output import format_named
from choros.cli.verbosity import log_level
from choros.cli.words import STATUSES, command, status_named
from choros.errors import SagaNotFound, UsageError
from choros.roles.loading import load_app
from choros.telemetry.lines import configure_logging
from choros.wire.own_headers import Headers

T = TypeVar("T")

AppName = Annotated[
    str, typer.Argument(metavar="APP", envvar=["CHOROS_APP"], help="package.module, or package.module:name")
]
SagaId = Annotated[
    str, typer.Argument(metavar="SAGA", help="its id, six or more characters that begin it, or its start key")
]
BrokerUrl = Annotated[
    str, typer.Option(metavar="URL", envvar=["CHOROS_BROKER", "AMQP_URL"], help="amqp://... or memory://")
]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar=["CHOROS_STORE", "REDIS_URL"],
        help="sqlite:///file, redis://..., postgresql://... or memory://",
    ),
]
DatabaseUrl = Annotated[
    str,
    typer.Option(
        metavar="URL", envvar=["CHOROS_DATABASE"], help="a service's own database; {service} stands for its name."
    ),
]
GivenHeaders = Annotated[
    list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="a header of your own; once for each")
]
OfStatus = Annotated[str, typer.Option("--status", metavar="STATUS", help=", ".join(STATUSES), callback=status_named)]
Output = Annotated[
    str, typer.Option("-o", "--output", metavar="FORMAT", help="table, json or jsonl", callback=format_named)
]


def read_headers(given: Sequence[str] | None) -> Headers:
    """As somebody has typed them; raises UsageError."""
    found: dict[str, str] = {}
    for text in given or ():
        name, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--header {text!r} is not NAME=VALUE.", "--header tenant=acme.")
        found[name] = value
    headers_text(found)
    return found


def run_until_done(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it, on uvloop where it is installed."""
    return _runner()(coroutine)


def _runner() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Not within `except`: each traceback would end with the ImportError."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def log_apart() -> None:
    """What stands on stdout is the answer; the log goes to stderr."""
    configure_logging("cli", level=log_level("WARNING"), stream=sys.stderr)


def loaded_apart(application: str) -> App:
    """The application of a command that gives an answer."""
    log_apart()
    return load_app(application)


def found(coroutine: Coroutine[Any, Any, T], application: str, store: str) -> T:
    """Run it; where there is no such saga, say how to find those that there are."""
    try:
        return run_until_done(coroutine)
    except SagaNotFound as error:
        raise SagaNotFound(error.sentence, command("list", application, store)) from None
