"""`choros flow`: who publishes and who listens to what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from choros.cli.options import loaded_apart
from choros.cli.output import tell_lines, tell_value
from choros.cli.verbs import Verbs
from choros.desk.flow_map import map_data, map_lines, map_mermaid, map_svg
from choros.desk.hearsay import hearsay_of
from choros.errors import UsageError, unknown

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
    application: Annotated[
        str, typer.Argument(metavar="APP", envvar=["CHOROS_APP"], help="package.module, or package.module:name")
    ],
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


def named(application: str, others: Sequence[str] | None) -> list[str]:
    """Each application that is named, once."""
    return list(dict.fromkeys([application, *(others or ())]))
