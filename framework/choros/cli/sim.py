"""Commands on the simulated world: run a campaign of seeds, or one seed again."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from choros.cli.asking import AppName
from choros.errors import UsageError
from choros.loading import load_app
from choros.runtime.application import App
from choros.testing.simulation.campaign import Tally, campaign
from choros.testing.simulation.examining import Result, Scene
from choros.testing.simulation.planning import plan_for
from choros.testing.simulation.report import as_data, failed, failure, summary
from choros.testing.simulation.shrinking import shrink

app = typer.Typer(no_args_is_help=True, help="An application in a simulated world, with faults.")
BAR = 40
MOST_TOLD = 3
"""Failures told in full."""


@app.command()
def run(
    application: AppName,
    campaigns: Annotated[int, typer.Option(min=1, help="How many runs, each with a seed of its own.")] = 1000,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="How many at the same time.")] = os.cpu_count() or 1,
    report: Annotated[Path | None, typer.Option("--json", help="Where to write the figures as JSON.")] = None,
) -> None:
    """Run an application under so many seeds, and check every promise in every run."""
    scene = _scene(load_app(application))
    began = time.monotonic()
    tally = campaign(scene, range(seed, seed + campaigns), workers=workers, on_progress=_bar(campaigns))
    took = time.monotonic() - began
    print("\n".join(summary(tally, scene, took)))
    if report:
        report.write_text(json.dumps(as_data(tally, scene, took), indent=2), encoding="utf-8")
    for result in tally.failures[:MOST_TOLD]:
        _tell(scene, result, application)
    if failed(tally, scene):
        raise typer.Exit(1)


@app.command()
def replay(
    seed: Annotated[int, typer.Argument(help="The seed of the run.")],
    application: AppName,
    whole: Annotated[bool, typer.Option("--whole", help="Tell it as it was, without leaving anything out.")] = False,
) -> None:
    """Run one seed again, and tell what happened; of a failure only what it takes."""
    scene = _scene(load_app(application))
    result = scene.examine(plan_for(seed, scene.setting), story=True)
    if result.violations and not whole:
        _tell(scene, result, application)
    else:
        print("\n".join([f"seed {seed}: {fault}" for fault in result.plan.faults]))
        print("\n".join([*result.story, *(f"✖ {violation}" for violation in result.violations)]))
        print(f"trace {result.digest}")
    if result.violations:
        raise typer.Exit(1)


def _scene(loaded: App) -> Scene:
    if not loaded.sagas:
        raise UsageError("This application has no saga to simulate.", "name one in App(sagas=...).")
    return Scene(loaded)


def _tell(scene: Scene, result: Result, application: str) -> None:
    small = scene.examine(shrink(scene, result).plan, story=True)
    print("\n".join(failure(small, shrunk_from=len(result.plan.faults))))
    print(f"  again: choros sim replay {result.plan.seed} {application}")


def _bar(whole: int) -> Callable[[Tally], None]:
    """A bar on a terminal, nothing elsewhere."""

    def draw(tally: Tally) -> None:
        done = tally.runs * BAR // whole
        end = "\n" if tally.runs >= whole else ""
        text = f"\r[{'█' * done}{'·' * (BAR - done)}] {tally.runs}/{whole}  {tally.failed} violations{end}"
        print(text, end="", file=sys.stderr, flush=True)

    return draw if sys.stderr.isatty() else lambda _: None
