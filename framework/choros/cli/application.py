"""Commands on an application: check it, draw it, run it."""

from collections.abc import Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from choros.app.app import App
from choros.app.checks import check_reactions
from choros.app.flow_diagram import flow_lines, flow_mermaid
from choros.app.settings import SETTINGS, Settings
from choros.cli.departure import Leaving
from choros.cli.drift import pinned, stranded_in
from choros.cli.garbage import search_less
from choros.cli.options import AppName, BrokerUrl, DatabaseUrl, Output, StoreUrl, run_until_done
from choros.cli.output import tell_lines, tell_value
from choros.cli.verbosity import log_level
from choros.cli.verbs import Verbs
from choros.errors import UsageError
from choros.messages import Fact
from choros.roles.addresses import DEFAULT_BROKER, DEFAULT_DATABASE, DEFAULT_STORE, Addresses
from choros.roles.http_face import HttpPlace
from choros.roles.loading import load_app
from choros.roles.process import longest_drain, run_role
from choros.saga.diagram import mermaid, outline
from choros.telemetry.lines import configure_logging
from choros.version import __version__

DEMO_HINT = "pip install 'choros[demo]', or '.[demo]' in a checkout."
app = Verbs()
HealthFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar=["CHOROS_HEALTH_FILE"],
        help="where to write every few seconds how it is, for choros health",
    ),
]
Set = str | None


def _setting(name: str) -> Any:
    """The option that sets this."""
    setting = SETTINGS[name]
    return typer.Option(
        setting.flag,
        metavar="VALUE",
        envvar=[setting.variable],
        help=f"{setting.says} ({setting.shown(setting.default)})",
        show_default=False,
    )


@app.command(examples=["version"])
def version() -> None:
    """Print the version."""
    print(f"choros {__version__}")


@app.command(
    passes_on=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def demo(context: typer.Context) -> None:
    """Run the reference shop on generated or real orders."""
    found = next(iter(entry_points(group="choros.demos")), None)
    if found is None:
        raise UsageError("The reference services are not installed.", DEMO_HINT)
    try:
        run = found.load()
    except ModuleNotFoundError as error:
        raise UsageError(f"The demo needs {error.name!r}.", DEMO_HINT) from None
    code = run(context.args)
    if code:
        raise typer.Exit(code)


@app.command(examples=["check shop", "check shop --pin", "check shop --store redis://127.0.0.1/0"])
def check(
    application: AppName,
    file: Annotated[Path | None, typer.Argument(metavar="PINS", help="the pin file; NAME.pins if not given")] = None,
    pin: Annotated[bool, typer.Option("--pin", help="write the pin file: what the sagas are made of now")] = False,
    store: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="a saga store whose live instances have to go on: sqlite:///file, redis://... or postgresql://...",
        ),
    ] = "",
    output: Output = "table",
) -> None:
    """Check the declarations, and say which steps are commanded and which are event-driven.

    Where there is a pin file they must be as it says; with --store every live instance there must be known."""
    loaded = load_app(application)
    for service in loaded.services.values():
        service.check_resources()
        check_reactions(service)
    if output == "table":
        _tell_declarations(loaded)
    pinned(loaded, application, file, write=pin)
    if store:
        stranded_in(loaded, store)
    if output == "table":
        tell_lines(["✔ everything fits together"])
    else:
        tell_value(_declarations(loaded), output)


def _declarations(loaded: App) -> dict[str, Any]:
    sagas = [
        {"saga": saga.name, "version": saga.version, "outline": list(outline(saga, _subscribers(loaded)))}
        for saga in loaded.sagas.values()
    ]
    services = [
        {
            "service": service.name,
            "commands": [one.type_name for one in service.commands],
            "facts": [one.type_name for one in service.facts],
            **({"publishes": [one.type_name for one in service.publishes]} if service.publishes else {}),
        }
        for service in loaded.services.values()
    ]
    schedules = [
        {"schedule": one.name, "times": one.calendar.text, "saga": one.saga.name, "missed": one.missed}
        for one in loaded.schedules.values()
    ]
    starts = [{"fact": one.on.type_name, "saga": one.saga.name} for one in loaded.starts]
    found = {"namespace": loaded.namespace, "application": loaded.name, "sagas": sagas, "services": services}
    if loaded.programs:
        found["programs"] = [
            {"program": one.name, "publishes": [fact.type_name for fact in one.publishes]}
            for one in loaded.programs.values()
        ]
    if loaded.choreographies:
        found["choreographies"] = [
            {"choreography": one.name, "version": one.version, "outline": list(flow_lines(one))}
            for one in loaded.choreographies.values()
        ]
    if loaded.foreign:
        found["foreign"] = [
            {"name": one.name, "exchange": one.exchange.exchange, "facts": [kind.type_name for kind in one.facts]}
            for one in loaded.foreign.values()
        ]
    return found | ({"schedules": schedules} if schedules else {}) | ({"starts": starts} if starts else {})


def _tell_declarations(loaded: App) -> None:
    print(f"namespace {loaded.namespace}, application {loaded.name}")
    for saga in loaded.sagas.values():
        print("\n".join(outline(saga, _subscribers(loaded))))
    for flow in loaded.choreographies.values():
        print("\n".join(flow_lines(flow)))
    for service in loaded.services.values():
        kinds = [*(c.__name__ for c in service.commands), *(f.__name__ for f in service.facts)]
        print(f"service {service.name}: {', '.join(kinds) or 'nothing'}")
        _tell_published(loaded, service.publishes)
    for program in loaded.programs.values():
        print(f"program {program.name}")
        _tell_published(loaded, program.publishes)
    for one in loaded.schedules.values():
        print(f"schedule {one.name}: {one.calendar.text} starts {one.saga.name}; of what is missed: {one.missed}")
    for foreign in loaded.foreign.values():
        kinds = [kind.__name__ for kind in foreign.facts]
        print(f"foreign facts {foreign.name}: {', '.join(kinds)}, from the exchange {foreign.exchange.exchange}")
    for begun in loaded.starts:
        print(f"fact {begun.on.__name__} starts {begun.saga.name}")


def _tell_published(loaded: App, facts: Sequence[type[Fact]]) -> None:
    for fact in facts:
        heard = ", ".join(_subscribers(loaded).get(fact.type_name, ())) or "nobody here"
        print(f"  publishes {fact.__name__}, heard by {heard}")


@app.command(examples=["graph shop > sagas.mmd", "graph shop --flow order"])
def graph(
    application: AppName,
    saga: Annotated[str, typer.Option(metavar="NAME", help="one saga only")] = "",
    flow: Annotated[str, typer.Option(metavar="NAME", help="one choreography only")] = "",
) -> None:
    """Draw the sagas and choreographies as mermaid diagrams."""
    loaded = load_app(application)
    sagas = [loaded.saga(saga)] if saga else [] if flow else list(loaded.sagas.values())
    for one in sagas:
        print(mermaid(one, _subscribers(loaded), [begun.on for begun in loaded.starts if begun.saga is one]))
    flows = [loaded.choreography(flow)] if flow else [] if saga else list(loaded.choreographies.values())
    for drawn in flows:
        print(flow_mermaid(drawn))


def _subscribers(loaded: App) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for begun in loaded.starts:
        names.setdefault(begun.on.type_name, []).append(f"saga {begun.saga.name}")
    for service in loaded.services.values():
        for fact in service.facts:
            names.setdefault(fact.type_name, []).append(service.name)
    return names


@app.command(examples=["run shop", "run shop --role service:payment --broker amqp://localhost/"])
def run(
    context: typer.Context,
    application: AppName,
    role: Annotated[
        str, typer.Option(help="orchestrator, service:NAME, subscriber:NAME, foreign:NAME, program:NAME, starts or all")
    ] = "all",
    broker: BrokerUrl = DEFAULT_BROKER,
    store: StoreUrl = DEFAULT_STORE,
    database: DatabaseUrl = DEFAULT_DATABASE,
    health_file: HealthFile = None,
    http: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", envvar=["CHOROS_HTTP"], help="where to answer /livez, /readyz and /metrics over HTTP"
        ),
    ] = "",
    prefetch: Annotated[Set, _setting("prefetch")] = None,
    concurrency: Annotated[Set, _setting("concurrency")] = None,
    threads: Annotated[Set, _setting("threads")] = None,
    handler_time: Annotated[Set, _setting("handler_time")] = None,
    forget_after: Annotated[Set, _setting("forget_after")] = None,
    remember: Annotated[Set, _setting("remember")] = None,
    clock_skew: Annotated[Set, _setting("clock_skew")] = None,
    drain: Annotated[Set, _setting("drain")] = None,
    wait: Annotated[Set, _setting("wait")] = None,
    keep_sagas: Annotated[Set, _setting("keep_sagas")] = None,
    keep_start_keys: Annotated[Set, _setting("keep_start_keys")] = None,
) -> None:
    """Run a role of an application until it is told to stop (SIGTERM, Ctrl-C)."""
    settings = Settings.read({name: context.params[name] for name in SETTINGS})  # each is an option here
    at = HttpPlace.read(http) if http else None
    loaded = load_app(application)
    configure_logging(role, level=log_level("INFO"))  # after it: what it has configured stays
    if role == "all" and not _has_work(loaded):
        hint = "name a saga in App(sagas=...), or a service with handlers in App(services=...)."
        raise UsageError(f"{application} has nothing to run: no saga, and no service with handlers.", hint)
    if role == "orchestrator" and loaded.local and not _given(context, "database"):
        raise UsageError(
            f"The orchestrator carries out {', '.join(loaded.local)} itself, and is given no database for that.",
            "--database redis://..., or sqlite:///path/{service}.db; the same for every orchestrator.",
        )
    addresses = Addresses(broker, store, database)
    work = partial(run_role, loaded, role, addresses, health_file=health_file, http=at, settings=settings)
    if Leaving.owns_process:
        search_less()
    with Leaving(longest_drain(loaded, settings)) as leaving:
        run_until_done(leaving.stay(lambda begun: work(begun=begun)))


def _given(context: typer.Context, name: str) -> bool:
    """Whether somebody has said so, by an option or by environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _has_work(loaded: App) -> bool:
    return bool(loaded.sagas or loaded.foreign) or any(
        service.handlers or service.reactions for service in loaded.services.values()
    )
