"""`choros verify`: every interleaving of a saga or flow, and every combination of outcomes through the runtime."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from choros.app.app import App
from choros.cli.given_messages import given_replies, given_start
from choros.cli.interrupts import ends_when_told
from choros.cli.options import AppName
from choros.cli.output import tell_lines
from choros.cli.progress import Working, working
from choros.cli.verbs import Verbs
from choros.cli.words import writable
from choros.errors import UsageError
from choros.roles.loading import load_app
from choros.saga.saga import Saga
from choros_verify.commands.families import verified_family
from choros_verify.commands.flows import compared, verified_flow
from choros_verify.exploration.bounds import AGAIN, AGED, LONG, SHORT, TERMINATING, Bounds
from choros_verify.exploration.explore import Exploration, at_providers
from choros_verify.exploration.report import SCHEMA, ExplorationReport, lines, report
from choros_verify.exploration.states import Left
from choros_verify.exploration.trial import Tried, try_mutants
from choros_verify.simulation.real_code import RealCodeReport, every_combination, fixed_replies

app = Verbs()
MOST_TOLD = 3
"""Broken combinations told in full."""
Count = Annotated[int | None, typer.Option(metavar="N", min=0, max=5, help="instead of the usual budget, 5 at most")]


@app.command(
    examples=[
        "verify shop",
        "verify shop --mutants --real-code",
        "verify shop --saga order --json report.json",
        "verify shop --parity order order-flow",
    ]
)
@ends_when_told()
def verify(
    application: AppName,
    saga: Annotated[str, typer.Option(metavar="NAME", help="one saga only")] = "",
    flow: Annotated[str, typer.Option(metavar="NAME", help="one choreography only")] = "",
    duplicates: Count = None,
    crashes: Count = None,
    retries: Count = None,
    long: Annotated[bool, typer.Option("--long", help="2 duplicates, 2 crashes, 1 retry; else 1 of each")] = False,
    most_states: Annotated[
        int, typer.Option("--max-states", metavar="N", min=1, help="stop there, incomplete")
    ] = 5_000_000,
    seed: Annotated[
        int, typer.Option(metavar="N", help="order of the walk within a level; first seed of --real-code")
    ] = 0,
    start: Annotated[str, typer.Option(metavar="JSON", help="the start message as JSON, if none can be made up")] = "",
    reply: Annotated[list[str] | None, typer.Option(metavar="TYPE=JSON", help="a reply if none can be made up")] = None,
    mutants: Annotated[bool, typer.Option("--mutants", help="also without each rule: all must be caught")] = False,
    real_code: Annotated[bool, typer.Option("--real-code", help="also each combination, through the runtime")] = False,
    again: Annotated[bool, typer.Option("--again", help="also run again, from each end and step")] = False,
    parity: Annotated[
        tuple[str, str],
        typer.Option(
            metavar="A B", help="compare two sagas or choreographies instead; of another application: APP/NAME"
        ),
    ] = ("", ""),
    written: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="where to write the report as JSON")
    ] = None,
) -> None:
    """Walk through every interleaving of a saga or flow within budgets; exits with 1 if one of them breaks a promise.

    Everything may be refused, fail for now, stay unanswered, come late or in another order, be cancelled, paused,
    retried or skipped at every moment; duplicates, crashes and retries are counted by the budgets.
    """
    usual = LONG if long else SHORT
    given = zip((duplicates, crashes, retries, 0), usual, strict=True)
    budgets = Left(*(most if asked is None else asked for asked, most in given))
    loaded = load_app(application)
    writable(written)
    if any(parity):
        _parity(loaded, *parity, written)
        return
    told: list[dict[str, Any]] = []
    chosen = _chosen(loaded, saga, flow)
    replies = {name: given.to_json() for name, given in given_replies(chosen, reply or ()).items()}
    for one in chosen:
        bounds = Bounds(budgets, providers=at_providers(loaded, one), most_states=most_states, seed=seed)
        body = given_start(one, start).to_json() if start else ""
        if one.outline.nests:
            said, found = verified_family(loaded, one, body, mutants=mutants)
            tell_lines(said)
            told.append(found)
            continue
        exploration = Exploration(one, bounds, start=body, replies=replies)
        told.append(_verified(loaded, exploration, mutants=mutants, real_code=real_code, again=again))
    flows = _flows(loaded, saga, flow, mutants=mutants, most_states=most_states)
    if written:
        found = {"schema": SCHEMA, "sagas": told, **({"flows": flows} if flows else {})}
        written.write_text(json.dumps(found, indent=2), encoding="utf-8")
    if not all(one["held"] for one in (*told, *flows)):
        raise typer.Exit(1)


def _parity(loaded: App, one: str, other: str, written: Path | None) -> None:
    found = compared(loaded, one, other)
    tell_lines([*found.lines()])
    if written:
        written.write_text(json.dumps({"schema": SCHEMA, "parity": found.to_json()}, indent=2), encoding="utf-8")
    if not found.held:
        raise typer.Exit(1)


def _chosen(loaded: App, name: str, flow: str) -> Sequence[Saga[Any]]:
    if not loaded.sagas and not loaded.choreographies:
        raise UsageError("This application has no saga to verify.", "name one in App(sagas=...).")
    if flow and not name:
        return ()
    return [loaded.saga(name)] if name else list(loaded.sagas.values())


def _flows(loaded: App, saga: str, name: str, *, mutants: bool, most_states: int) -> Sequence[dict[str, Any]]:
    """What was found of its choreographies; told on the way."""
    everything = () if saga else tuple(loaded.choreographies.values())
    told: list[dict[str, Any]] = []
    for flow in [loaded.choreography(name)] if name else everything:
        said, found = verified_flow(flow, mutants=mutants, most_states=most_states)
        tell_lines(said)
        told.append(found)
    return told


def _verified(loaded: App, exploration: Exploration, *, mutants: bool, real_code: bool, again: bool) -> dict[str, Any]:
    """Verify one saga, print what was found, and give it back for the report."""
    with working("") as so_far:
        walked = f"states of {exploration.saga.name}"  # nobody knows how many are to come, so there is no bar
        exploration.progress = lambda states, _, level: so_far.at(states, what=f"{walked}, {level} events deep")
        found = report(exploration, exploration.run())
        _print(so_far, lines(found))
        aged = _aged(so_far, exploration)
        ended = _terminated(so_far, exploration)
        held = not (found.violation or aged.violation or ended.violation)
        told: dict[str, Any] = {**found.to_json(), "held": held}
        told |= {"aged": aged.to_json(), "terminated": ended.to_json()}
        if again:
            reruns = _run_again(so_far, exploration)
            told["again"] = reruns.to_json()
            told["held"] &= not reruns.violation
        if mutants:
            told["mutants"], caught = _without_rules(so_far, exploration)
            told["held"] &= caught
        if real_code:
            real = _through_the_runtime(so_far, loaded, exploration)
            _print(so_far, _real(real))
            told["real_code"] = real.to_json()
            told["held"] &= not real.violations
    return told


def _print(so_far: Working, told: Iterable[str]) -> None:
    so_far.end()
    tell_lines(told)


def _without_rules(so_far: Working, exploration: Exploration) -> tuple[list[dict[str, Any]], bool]:
    tried: list[Tried] = []
    for one in try_mutants(exploration):
        tried.append(one)
        _print(so_far, one.lines())
    missed = sum(not one.caught for one in tried)
    of = f"{sum(bool(one.report) for one in tried)} mutants that concern this saga"
    tell_lines([f"✖ {missed} of the {of} NOT caught" if missed else f"✔ all {of} caught"])
    return [one.to_json() for one in tried], not missed


def _aged(so_far: Working, exploration: Exploration) -> ExplorationReport:
    """The same with participants that forget, within budgets of its own: that would multiply all the rest."""
    forgetful = replace(exploration, bounds=replace(exploration.bounds, budgets=AGED))
    found = report(forgetful, forgetful.run())
    _print(so_far, lines(found, explained=False))
    return found


def _terminated(so_far: Working, exploration: Exploration) -> ExplorationReport:
    """The same where a person terminates the saga at any moment, settles what is left, and does nothing else."""
    ending = replace(exploration, bounds=replace(exploration.bounds, acts=TERMINATING))
    found = report(ending, ending.run())
    _print(so_far, lines(found, explained=False, acts="terminate, settle"))
    return found


def _run_again(so_far: Working, exploration: Exploration) -> ExplorationReport:
    """From each end, and each step from which a person may have the saga run again; nothing is doubled or lost."""
    bounds = replace(exploration.bounds, budgets=Left(0, 0, 0), acts=AGAIN)
    walked = replace(exploration, bounds=bounds)
    found = report(walked, walked.run_again())
    _print(so_far, lines(found, explained=False, acts="cancel, terminate, settle, run again"))
    return found


def _through_the_runtime(so_far: Working, loaded: App, exploration: Exploration) -> RealCodeReport:
    saga, seed = exploration.saga, exploration.bounds.seed
    start = saga.start.from_json(exploration.start) if exploration.start else None
    replies = fixed_replies(saga, exploration.replies)

    def show(done: int, of: int) -> None:
        so_far.at(done, of, f"runs of {saga.name}")

    return every_combination(loaded, saga, seed=seed, progress=show, start=start, replies=replies)


def _real(real: RealCodeReport) -> Iterator[str]:
    ends = ", ".join(f"{status} {count:,}" for status, count in sorted(real.statuses.items()))
    kind = "every combination of outcomes" if real.complete else f"every pair of outcomes (of {real.possible:,} in all)"
    yield f"saga {real.saga} through the real runtime: {kind}, {real.runs:,} runs in {real.seconds:.1f} s: {ends}"
    for broken in real.violations[:MOST_TOLD]:
        yield f"✖ {broken.case} (seed {broken.seed})"
        yield from (f"  {sentence}" for sentence in broken.sentences)
    broken_ones = f"✖ {len(real.violations):,} combinations broke a promise"
    yield broken_ones if real.violations else "✔ no promise was broken"
