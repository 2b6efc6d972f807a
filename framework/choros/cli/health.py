"""`choros health`: what a supervisor asks."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from choros.cli.options import Output
from choros.cli.output import ago, tell_lines, tell_value
from choros.cli.verbs import Verbs
from choros.runtime.host.vitals import Report
from choros.sources import now

app = Verbs()


@app.command(examples=["health /run/choros/order.json", "health /run/choros/order.json --alive"])
def health(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the --health-file that the role was started with")],
    alive: Annotated[bool, typer.Option("--alive", help="ask only whether the process itself lives")] = False,
    output: Output = "table",
) -> None:
    """Say how a running role is; exits with 1 if it hangs, or its broker or store is away or blocked."""
    report = Report.read(file)
    found = report.complaints(now(), alive_only=alive)
    if output != "table":
        tell_value({"well": not found, "complaints": found, "remarks": report.remarks, **asdict(report)}, output)
        raise typer.Exit(1 if found else 0)
    for sentence in found:
        print(f"✖ {report.role}: {sentence}", file=sys.stderr)
    if found:
        raise typer.Exit(1)
    for service, since in report.unfinished.items():
        oldest = f"the oldest taken {ago(now() - since)} ago"
        tell_lines([f"… {report.role}: {service} has commands that are finished from outside, {oldest}"])
    for sentence in report.remarks:
        tell_lines([f"! {report.role}: {sentence}"])
    if not report.remarks:
        tell_lines([f"✔ {report.role}: all is well"])
