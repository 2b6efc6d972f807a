"""`choros flow`: who publishes and who listens to what, and what has become of one flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from choros.cli.flow_sight import FlowPlaces, flow_seen
from choros.cli.options import AppName, BrokerUrl, Output, loaded_apart, run_until_done
from choros.cli.output import tell_lines, tell_value
from choros.cli.places import DatabaseUrls, StoreUrls
from choros.cli.places import places as addresses
from choros.cli.progress import working
from choros.cli.verbs import Verbs
from choros.cli.words import moment
from choros.desk.flow_lines import flow_data, flow_lines
from choros.desk.flow_map import map_data, map_lines, map_mermaid, map_svg
from choros.desk.hearsay import hearsay_of
from choros.errors import UsageError, unknown
from choros.roles.addresses import DEFAULT_BROKER, DEFAULT_DATABASE, DEFAULT_STORE
from choros.sources import now

app = Verbs(help="What passes between services without being commanded.")
SHAPES = ("table", "json", "mermaid", "svg")


def shape_named(shape: str) -> str:
    """The format of a map; raises UsageError for one that there is not."""
    if shape not in SHAPES:
        raise UsageError(*unknown(f"There is no output format {shape!r}.", shape, SHAPES))
    return shape


Others = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="APP", help="another application of the same namespace; may be repeated"),
]


@app.command("map", examples=["flow map shop", "flow map shop --with loyalty -o svg > map.svg"])
def flow_map(
    application: AppName,
    others: Others = None,
    shape: Annotated[
        str, typer.Option("-o", "--output", metavar="FORMAT", help=", ".join(SHAPES), callback=shape_named)
    ] = "table",
) -> None:
    """Say who publishes and who listens to what, as the declarations of one or several applications have it."""
    found = hearsay_of([loaded_apart(one) for one in named(application, others)])
    match shape:
        case "table":
            tell_lines(map_lines(found))
        case "json":
            tell_value({"namespace": found.namespace, "facts": map_data(found)}, "json")
        case "mermaid":
            print(map_mermaid(found), end="")
        case _:
            print(map_svg(found), end="")


@app.command("show", examples=["flow show shop o7", "flow show shop o7 --with loyalty --database payment=redis://..."])
def flow_show(
    application: AppName,
    flow: Annotated[
        str, typer.Argument(metavar="ID", help="its id, the start key of its saga, or the key of its first fact")
    ],
    others: Others = None,
    run: Annotated[
        int, typer.Option(metavar="N", min=1, help="of several runs under the key of its first fact, which")
    ] = 1,
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="read the fact log from then on: '2h', '7d'; else all of it")
    ] = "",
    broker: BrokerUrl = DEFAULT_BROKER,
    store: StoreUrls = None,
    database: DatabaseUrls = None,
    output: Output = "table",
) -> None:
    """Show a flow as a tree of causes, and which reactions are missing, late or parked; exits with 1 if any are.

    It is read from the fact log, the stores' histories and the services' outboxes and inboxes, as far as they can be
    reached; what cannot is said."""
    apps = [loaded_apart(one) for one in named(application, others)]
    with working("facts of the log") as so_far:
        places = FlowPlaces(
            broker, addresses("--store", store, DEFAULT_STORE), addresses("--database", database, DEFAULT_DATABASE),
            moment(since, now()) if since else None, so_far.at,
        )  # fmt: skip
        tree, at = run_until_done(flow_seen(apps, places, flow, run))
    if output == "table":
        tell_lines(flow_lines(tree, at))
    else:
        tell_value(flow_data(tree), output)
    if tree.open or tree.overdue:
        raise typer.Exit(1)


def named(application: str, others: Sequence[str] | None) -> list[str]:
    """Each application that is named, once."""
    return list(dict.fromkeys([application, *(others or ())]))
