"""`choros health`: what a supervisor asks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from choros.cli.verbs import Verbs
from choros.runtime.health import Report
from choros.sources import now

app = Verbs()


@app.command(examples=["health /run/choros/order.json", "health /run/choros/order.json --alive"])
def health(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the --health-file that the role was started with")],
    alive: Annotated[bool, typer.Option("--alive", help="ask only whether the process itself lives")] = False,
) -> None:
    """Say how a running role is; exits with 1 if it hangs, or its broker or store is away or blocked."""
    report = Report.read(file)
    found = report.complaints(now(), alive_only=alive)
    for sentence in found:
        print(f"✖ {report.role}: {sentence}", file=sys.stderr)
    if found:
        raise typer.Exit(1)
    for sentence in report.remarks:
        print(f"! {report.role}: {sentence}")
    if not report.remarks:
        print(f"✔ {report.role}: all is well")
