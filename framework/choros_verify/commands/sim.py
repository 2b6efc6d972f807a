"""Commands on the simulated world: run a campaign of seeds, or one seed again."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from choros.cli.interrupts import ends_when_told
from choros.cli.options import AppName
from choros.cli.output import tell_lines
from choros.cli.progress import working
from choros.cli.verbs import Verbs
from choros.cli.words import writable
from choros.roles.loading import load_app
from choros_verify.commands.scene_options import SceneOptions
from choros_verify.simulation.campaign import Tally, campaign
from choros_verify.simulation.plans import plan_for
from choros_verify.simulation.reduction import shrink
from choros_verify.simulation.report import as_data, failed, failure, summary
from choros_verify.simulation.scene import Result, Scene
from choros_verify.simulation.script import StoreKind

app = Verbs(help="An application in a simulated world, with faults.")
StartOptions = Annotated[
    list[str] | None, typer.Option(metavar="JSON", help="a start message, or SAGA=JSON, if none can be made up")
]
FramesOption = Annotated[
    bool, typer.Option("--frames", help="with the RabbitMQ adapter and its client, on a broker that speaks AMQP")
]
ReplyOptions = Annotated[list[str] | None, typer.Option(metavar="TYPE=JSON", help="a reply if none can be made up")]
StoreOption = Annotated[
    StoreKind | None, typer.Option("--store", help="what sagas and rows lie in, instead of some in each")
]
OwnOptions = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="a service with its own handlers: NAME, or NAME=MODULE:FUNCTION that makes it"),
]
MOST_TOLD = 3
"""Failures told in full."""


@app.command(examples=["sim run shop --campaigns 10000", "sim run shop --store redis --seed 5000"])
@ends_when_told()
def run(
    application: AppName,
    campaigns: Annotated[
        int, typer.Option(metavar="N", min=1, help="how many runs, each with a seed of its own")
    ] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", help="the first seed")] = 1,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="how many at the same time")] = os.cpu_count() or 1,
    report: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="where to write the figures as JSON")
    ] = None,
    start: StartOptions = None,
    reply: ReplyOptions = None,
    own: OwnOptions = None,
    frames: FramesOption = False,
    store: StoreOption = None,
) -> None:
    """Run an application under so many seeds, and check every promise in every run."""
    writable(report)
    given = SceneOptions(start or (), reply or (), own or (), frames, store)
    scene = given.scene(load_app(application))
    began = time.monotonic()
    with working("runs", campaigns) as so_far:

        def show(tally: Tally) -> None:
            so_far.at(tally.runs, what=f"runs, {tally.failed} violations")

        tally = campaign(scene, range(seed, seed + campaigns), workers=workers, on_progress=show)
    took = time.monotonic() - began
    tell_lines(summary(tally, scene, took))
    if report:
        report.write_text(json.dumps(as_data(tally, scene, took), indent=2), encoding="utf-8")
    for result in tally.failures[:MOST_TOLD]:
        _tell(scene, result, [application, *given.again()])
    if failed(tally, scene):
        raise typer.Exit(1)


@app.command(examples=["sim replay 4711 shop", "sim replay 4711 shop --whole"])
@ends_when_told()
def replay(
    seed: Annotated[int, typer.Argument(help="the seed of the run")],
    application: AppName,
    whole: Annotated[bool, typer.Option("--whole", help="tell it as it was, without leaving anything out")] = False,
    start: StartOptions = None,
    reply: ReplyOptions = None,
    own: OwnOptions = None,
    frames: FramesOption = False,
    store: StoreOption = None,
) -> None:
    """Run one seed again, and tell what happened; of a failure only what it takes."""
    given = SceneOptions(start or (), reply or (), own or (), frames, store)
    scene = given.scene(load_app(application))
    result = scene.examine(plan_for(seed, scene.setting), story=True)
    if result.violations and not whole:
        _tell(scene, result, [application, *given.again()])
    else:
        print("\n".join([f"seed {seed}: {fault}" for fault in result.plan.faults]))
        tell_lines([*result.story, *(f"✖ {violation}" for violation in result.violations)])
        print(f"trace {result.digest}")
    if result.violations:
        raise typer.Exit(1)


def _tell(scene: Scene, result: Result, words: Sequence[str]) -> None:
    small = scene.examine(shrink(scene, result).plan, story=True)
    tell_lines(failure(small, shrunk_from=len(result.plan.faults)))
    print(f"  again: choros sim replay {result.plan.seed} {' '.join(words)}")
