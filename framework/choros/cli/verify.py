"""`choros verify`: every interleaving of a declared saga, and every combination of outcomes through the runtime."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from choros.cli.asking import AppName
from choros.cli.given import given_replies, given_start
from choros.cli.interrupts import ends_when_told
from choros.cli.verbs import Verbs
from choros.cli.words import writable
from choros.errors import UsageError
from choros.loading import load_app
from choros.runtime.application import App
from choros.saga.declaration import Saga
from choros.testing.exploration.bounds import AGED, LONG, SHORT, Bounds
from choros.testing.exploration.explore import Exploration, at_providers
from choros.testing.exploration.report import SCHEMA, Report, lines, report
from choros.testing.exploration.states import Left
from choros.testing.exploration.trial import Tried, try_mutants
from choros.testing.simulation.real_code import RealCodeReport, every_combination, fixed_replies

app = Verbs()
BAR = 30
MOST_TOLD = 3
"""Broken combinations told in full."""
Count = Annotated[int | None, typer.Option(metavar="N", min=0, max=5, help="instead of the usual budget, 5 at most")]


@app.command(
    examples=["verify shop", "verify shop --mutants --real-code", "verify shop --saga order --json report.json"]
)
@ends_when_told()
def verify(
    application: AppName,
    saga: Annotated[str, typer.Option(metavar="NAME", help="one saga only")] = "",
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
    written: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="where to write the report as JSON")
    ] = None,
) -> None:
    """Walk through every interleaving of a saga within budgets; exits with 1 if any of them breaks a promise.

    Everything may be refused, fail for now, stay unanswered, come late or in another order, be cancelled, paused,
    retried or skipped at every moment; duplicates, crashes and retries are counted by the budgets.
    """
    usual = LONG if long else SHORT
    given = zip((duplicates, crashes, retries, 0), usual, strict=True)
    budgets = Left(*(most if asked is None else asked for asked, most in given))
    loaded = load_app(application)
    writable(written)
    told: list[dict[str, Any]] = []
    chosen = _chosen(loaded, saga)
    replies = {name: given.to_json() for name, given in given_replies(chosen, reply or ()).items()}
    for one in chosen:
        bounds = Bounds(budgets, providers=at_providers(loaded, one), most_states=most_states, seed=seed)
        body = given_start(one, start).to_json() if start else ""
        exploration = Exploration(one, bounds, start=body, replies=replies)
        told.append(_verified(loaded, exploration, mutants=mutants, real_code=real_code))
    if written:
        written.write_text(json.dumps({"schema": SCHEMA, "sagas": told}, indent=2), encoding="utf-8")
    if not all(one["held"] for one in told):
        raise typer.Exit(1)


def _chosen(loaded: App, name: str) -> Sequence[Saga[Any]]:
    if not loaded.sagas:
        raise UsageError("This application has no saga to verify.", "name one in App(sagas=...).")
    return [loaded.saga(name)] if name else list(loaded.sagas.values())


def _verified(loaded: App, exploration: Exploration, *, mutants: bool, real_code: bool) -> dict[str, Any]:
    """Verify one saga, print what was found, and give it back for the report."""
    if _on_a_terminal():
        exploration.progress = _walking(exploration.saga.name)
    found = report(exploration, exploration.run())
    _clear(exploration)
    print("\n".join(lines(found)), flush=True)
    aged = _aged(exploration)
    held = not (found.violation or aged.violation)
    told: dict[str, Any] = {**found.to_json(), "held": held, "aged": aged.to_json()}
    if mutants:
        tried = [_print_tried(one) for one in try_mutants(exploration)]
        _clear(exploration)
        concerned = [one for one in tried if one.report]
        missed, of = sum(not one.caught for one in tried), f"{len(concerned)} mutants that concern this saga"
        print(f"✖ {missed} of the {of} NOT caught" if missed else f"✔ all {of} caught")
        told["mutants"] = [one.to_json() for one in tried]
        told["held"] &= all(one.caught for one in tried)
    if real_code:
        real = _through_the_runtime(loaded, exploration)
        _print_real(real)
        told["real_code"] = real.to_json()
        told["held"] &= not real.violations
    return told


def _aged(exploration: Exploration) -> Report:
    """The same with participants that forget, within budgets of its own: that would multiply all the rest."""
    forgetful = replace(exploration, bounds=replace(exploration.bounds, budgets=AGED))
    found = report(forgetful, forgetful.run())
    _clear(exploration)
    print("\n".join(lines(found)), flush=True)
    return found


def _through_the_runtime(loaded: App, exploration: Exploration) -> RealCodeReport:
    saga, seed = exploration.saga, exploration.bounds.seed
    start = saga.start.from_json(exploration.start) if exploration.start else None
    replies = fixed_replies(saga, exploration.replies)
    return every_combination(loaded, saga, seed=seed, progress=_counting(), start=start, replies=replies)


def _print_tried(tried: Tried) -> Tried:
    print("\n".join(tried.lines()), flush=True)
    return tried


def _print_real(real: RealCodeReport) -> None:
    _wipe()
    ends = ", ".join(f"{status} {count:,}" for status, count in sorted(real.statuses.items()))
    kind = "every combination of outcomes" if real.complete else f"every pair of outcomes (of {real.possible:,} in all)"
    print(f"saga {real.saga} through the real runtime: {kind}, {real.runs:,} runs in {real.seconds:.1f} s: {ends}")
    for broken in real.violations[:MOST_TOLD]:
        print(f"✖ {broken.case} (seed {broken.seed})")
        print("\n".join(f"  {sentence}" for sentence in broken.sentences))
    if real.violations:
        print(f"✖ {len(real.violations):,} combinations broke a promise")
    else:
        print("✔ no promise was broken")


# --- how far it is ----------------------------------------------------------------------------------------------------


def _on_a_terminal() -> bool:
    return sys.stderr.isatty()


def _walking(name: str) -> Callable[[int, int, int], None]:
    """A line on the terminal. Nobody knows how many states are to come, so the bar is that of one level."""
    width = {"level": -1, "states": 1}

    def show(states: int, left: int, level: int) -> None:
        if width["level"] != level:
            width.update(level=level, states=max(left, 1))
        filled = BAR * (width["states"] - left) // width["states"]
        bar = "█" * filled + "░" * (BAR - filled)
        print(f"\r{name}: {states:,} states, {level} events deep {bar}", end="", file=sys.stderr, flush=True)

    return show


def _counting() -> Callable[[int, int], None] | None:
    if not _on_a_terminal():
        return None

    def show(done: int, all_: int) -> None:
        filled = BAR * done // max(all_, 1)
        print(f"\r{done:,} of {all_:,} runs {'█' * filled}{'░' * (BAR - filled)}", end="", file=sys.stderr, flush=True)

    return show


def _clear(exploration: Exploration) -> None:
    if exploration.progress:
        _wipe()


def _wipe() -> None:
    if _on_a_terminal():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
