"""What is said of a campaign and of a failure, in words and as plain data."""

import subprocess
from collections.abc import Iterator
from typing import Any

from choros_verify.simulation.campaign import Tally
from choros_verify.simulation.scene import Result, Scene

ENOUGH_TO_SEE_ALL = 5000
"""Runs after which whatever should happen sometimes must have happened."""


def commit() -> str:
    """The commit that is checked out, with a '+' where files were changed; empty where nobody knows."""
    try:
        return _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def summary(tally: Tally, scene: Scene, took: float) -> Iterator[str]:
    """A campaign in a few lines."""
    sagas = sum(tally.statuses.values())
    flows = tally.acts["flow begun"]
    begun = " and ".join(f"{many} {what}" for many, what in ((sagas, "sagas"), (flows, "flows")) if many or not flows)
    yield f"{tally.runs} runs, {begun}, {sum(tally.struck.values())} faults, in {took:.0f} s;"
    yield f"  {tally.seconds / 86400:.1f} days of virtual time in {tally.steps} steps"
    if sagas:
        yield f"  sagas:  {_listed(tally.statuses)}"
    yield f"  faults: {', '.join(f'{kind} {tally.struck[kind]}' for kind in scene.fault_kinds)}"
    if tally.edges:
        yield f"  moves:  {_listed(tally.edges)}"
    if tally.acts:
        yield f"  acts:   {_listed(tally.acts)}"
    for missing in tally.missing(scene):
        yield f"  never:  {missing}"
    if sagas and not tally.statuses["completed"]:
        yield "ℹ no saga was completed in any run: does a handler or a reply of yours always fail?"
    if flows and not tally.acts["flow ended well"]:
        yield "ℹ no flow ended well in any run: does a handler of yours always fail?"
    if tally.failed:
        yield f"✖ {tally.failed} of {tally.runs} runs broke a promise"
    elif failed(tally, scene):
        yield f"✖ no violation, but what stands under 'never' happens in {tally.runs} runs, so this tried too little"
    else:
        what, many = ("sagas", sagas) if sagas else ("flows", max(flows, 1))
        yield f"✔ no violation; that bounds the share of bad {what} at {3 / many:.2g} (95 %), not at 0"


def _listed(counts: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def failed(tally: Tally, scene: Scene) -> bool:
    """Whether the campaign counts as failed: a violation, or, in a long one, something that never happened."""
    return bool(tally.failed) or (tally.runs >= ENOUGH_TO_SEE_ALL and bool(tally.missing(scene)))


def failure(result: Result, *, shrunk_from: int = 0) -> Iterator[str]:
    """A failure as a person wants it: what broke, the seed, what went wrong, and the story."""
    plan, known = result.plan, commit()
    yield f"✖ seed {plan.seed}{f', commit {known}' if known else ''}"
    yield from (f"  {violation}" for violation in result.violations)
    fewer = f" (left of {shrunk_from})" if shrunk_from > len(plan.faults) else ""
    yield f"  {len(plan.faults)} faults{fewer}:"
    yield from (f"    {fault}" for fault in plan.faults)
    yield from (f"    {line}" for line in plan.script)
    yield from (f"    {line}" for line in plan.reactions)
    yield from (f"    {act}" for act in plan.acts)
    beside = ", a second application beside it" if plan.beside else ", a second store" if plan.rival else ""
    beside += f", sagas kept for {plan.keep:g} s" if plan.keep is not None else ""
    flows = f"{len(plan.flows)} flows, " if plan.flows else ""
    there = f"{len(plan.starts)} sagas, {flows}{plan.orchestrators} orchestrators, RabbitMQ {plan.broker}, {plan.store}"
    yield f"  {there}{beside}"
    yield from (f"  {line}" for line in result.story)


def as_data(tally: Tally, scene: Scene, took: float) -> dict[str, Any]:
    """A campaign as plain data."""
    return {
        "commit": commit(),
        "runs": tally.runs,
        "sagas": dict(sorted(tally.statuses.items())),
        "faults": {kind: tally.struck[kind] for kind in scene.fault_kinds},
        "moves": dict(sorted(tally.edges.items())),
        "acts": dict(sorted(tally.acts.items())),
        "never": tally.missing(scene),
        "steps": tally.steps,
        "virtual_seconds": round(tally.seconds, 1),
        "seconds": round(took, 1),
        "failed": tally.failed,
        "failures": [{"plan": r.plan.to_json(), "violations": list(r.violations)} for r in tally.failures],
    }
