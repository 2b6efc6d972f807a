"""What a campaign comes to: a JSON report for machines, a summary for people, the evidence for a violation.

The report's fields, all times in seconds:

    kind            "chaos"
    commit, versions{choros, python, aio-pika, rabbitmq, erlang, redis}, battlefield, at (ISO, UTC)
    seed, least_permissions, minutes, seconds, drain_seconds, drained
    sagas           accepted starts, cruises those among them that have nodes in their nodes; never_started: asked for,
                    refused by a fault, and indeed not there
    expeditions     those of them that are under a lock, and spoken to; said {what was asked and answered: count};
                    souvenirs: sagas that facts have begun, and that have had their effect
    outcomes        {status: count} as the store has them; parked {script and reason: count}
    effects         entries in the services' books
    faults          {kind: count}; kills, cuts: how many of them; impossible: kinds this machine does not allow;
                    not_done: kinds whose turn did not come; failed_faults: what could not be carried out, and why
    zeros           {lost, doubled, standing, stuck, unexpected, facts: count}; bound: 3 / sagas, what a zero among so
                    many supports as a rate at 95 %
    missing_facts   lost with deleted queues, and not published again: 0 where `choros facts republish` could run
    by_the_store_only   voyages without effects whose end, their facts being lost, only the store could tell
    leftovers       {queue: count}: what was still in a working queue at the end
    recovery        {p50, p99, max} from the end of a big fault to the next completed voyage; recovery_by_fault
    dead_letters    {queue: count}
    exits           {process and exit code: count}: ends that nobody ordered; stop_seconds: slowest orderly stop;
                    hung: processes that had to be killed at the end
    unheeded        {process: the first thing that failed in it and that nobody heard of}
    frames          {blocked, return, nack, oversized: how often the broker has said so on a connection of choros;
                    half_open: connections that nobody was told of}
    strangers       {thrown, parked, more_than_once, missing}: messages whose properties cannot be decoded
    violations      [{kind, number, what}]
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from choros.version import __version__
from tests.chaos.campaign import Result
from tests.chaos.checker import KINDS
from tests.chaos.crew import STOP_SECONDS
from tests.chaos.faults import CUTS, HALF_OPEN, KILLS
from tests.chaos.frames import COUNTED
from tests.chaos.ledgers import Dossier
from tests.chaos.proxy import BROKER

_AROUND = 20.0
"""Seconds of the nemesis' log before and after a voyage's own entries that belong to its evidence."""
_MOST_SHOWN = 10
_UNHEEDED = ("exception was never retrieved", "was never awaited", "Exception in callback")


def as_json(result: Result, battlefield: str) -> dict[str, Any]:
    """The report."""
    verdict, nemesis = result.verdict, result.nemesis
    sagas = sum(1 for one in result.dossiers.values() if one.saga_id)
    recoveries = recovery(result)
    seconds = sorted(one for many in recoveries.values() for one in many)
    return {
        "kind": "chaos",
        "commit": _commit(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {
            "choros": __version__,
            "python": platform.python_version(),
            "aio-pika": version("aio-pika"),
            **result.versions,
        },
        "battlefield": battlefield,
        "seed": result.plan.seed,
        "least_permissions": result.plan.permits,
        "minutes": result.plan.minutes,
        "seconds": round(result.seconds, 1),
        "drain_seconds": round(result.drain_seconds, 1),
        "drained": result.drained,
        "sagas": sagas,
        "cruises": sum(1 for one in result.dossiers.values() if one.saga_id and one.is_cruise),
        "expeditions": sum(1 for one in result.dossiers.values() if one.saga_id and one.is_expedition),
        "said": _said(result),
        "souvenirs": sum(one.count("souvenir", "do") for one in result.dossiers.values()),
        "flows": verdict.outings,
        "never_started": verdict.outcomes["never started"],
        "outcomes": dict(sorted(verdict.outcomes.items())),
        "parked": dict(verdict.parked),
        "effects": sum(len(one.effects) for one in result.dossiers.values()),
        "faults": dict(sorted(nemesis.counts.items())),
        "kills": _strokes(result, KILLS),
        "cuts": _strokes(result, CUTS),
        "impossible": nemesis.impossible,
        "not_done": nemesis.not_done,
        "failed_faults": nemesis.failed,
        "zeros": {kind: verdict.count(kind) for kind in KINDS},
        "bound": 3 / sagas if sagas else None,
        "missing_facts": len(verdict.missing_facts),
        "by_the_store_only": verdict.by_the_store_only,
        "recovery": {name: _quantile(seconds, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))},
        "recovery_by_fault": {kind: round(max(many), 2) for kind, many in sorted(recoveries.items())},
        "dead_letters": {q: n for q, n in result.depths.items() if q.endswith(".dead") and n},
        "leftovers": {q: n for q, n in result.depths.items() if not q.endswith(".dead") and n},
        "exits": dict(result.crew.ended),
        "stop_seconds": round(max(result.stops.values(), default=0.0), 1),
        "hung": sorted(name for name, seconds in result.stops.items() if seconds >= STOP_SECONDS),
        "unheeded": unheeded(result.folder / "logs"),
        "frames": {**{kind: result.frames.get(kind, 0) for kind in COUNTED}, "half_open": _half_open(result)},
        "strangers": vars(result.strangers),
        "violations": [vars(one) for one in verdict.violations],
    }


def unheeded(logs: Path) -> dict[str, str]:
    """The first line of each log about an error that nobody caught, as asyncio says it: a part has ended by it, and no
    other one knows. A restart would hide that."""
    found: dict[str, str] = {}
    for path in sorted(logs.glob("*.log")):
        with path.open(errors="replace") as lines:
            line = next((line for line in lines if any(words in line for words in _UNHEEDED)), "")
        if line:
            found[path.stem] = line.strip()[:500]
    return found


def _said(result: Result) -> dict[str, int]:
    """What was answered to whoever spoke to an expedition: so often."""
    words = (f"{what} {answer}" for one in result.dossiers.values() for what, answer in one.said.items())
    return dict(sorted(Counter(words).items()))


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def _strokes(result: Result, kinds: set[str]) -> int:
    """Processes killed, links cut: `kill everybody` is as many as it names."""
    return sum(one.did.count(",") + 1 for one in result.nemesis.done if one.kind in kinds)


def _half_open(result: Result) -> int:
    """How often links to the broker were; the small ones are of a broker or of a store."""
    return sum(1 for one in result.nemesis.done if one.kind in HALF_OPEN and BROKER in one.did)


def recovery(result: Result) -> dict[str, list[float]]:
    """By kind of big fault: seconds from its end to the next voyage whose last step is done, by the services' clock."""
    ends = sorted(e.at for one in result.dossiers.values() for e in one.effects if e.step == "miles")
    found: dict[str, list[float]] = defaultdict(list)
    for fault in result.nemesis.done:
        place = bisect_right(ends, fault.until)
        if fault.big and place < len(ends):
            found[fault.kind].append(ends[place] - fault.until)
    return found


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2) if ordered else None


# --- for people -------------------------------------------------------------------------------------------------------


def summary(report: dict[str, Any]) -> Iterator[str]:
    """Lines."""
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    yield f"{report['battlefield']}; {versions}; commit {report['commit'][:12]}; seed {report['seed']}"
    outcomes = ", ".join(f"{count} {status}" for status, count in report["outcomes"].items())
    yield f"{report['sagas']} sagas ({report['cruises']} with nodes in their nodes) in {report['seconds']:.0f} s,"
    yield f"  drained in {report['drain_seconds']:.0f} s"
    yield f"  {outcomes}"
    said = ", ".join(f"{count} {words}" for words, count in report["said"].items())
    yield f"  {report['expeditions']} expeditions, each under a lock: {said}; {report['souvenirs']} souvenirs by facts"
    if report["flows"]:
        yield f"  {report['flows']} flows that nobody orchestrates"
    yield f"{report['kills']} kills and {report['cuts']} cuts among {sum(report['faults'].values())} faults:"
    yield "  " + ", ".join(f"{count} × {kind}" for kind, count in report["faults"].items())
    if report["minutes"] >= 15 and (report["sagas"] < 20_000 or report["kills"] + report["cuts"] < 200):
        yield "  FEWER than the 20,000 sagas, or the 200 kills and cuts, that this form is for"
    if report["impossible"]:
        yield f"  not possible on this machine, so not done: {', '.join(report['impossible'])}"
    yield ", ".join(f"{count} {kind}" for kind, count in report["zeros"].items()) + _bound(report)
    yield f"frames that came: {', '.join(f'{count} {kind}' for kind, count in report['frames'].items())}"
    yield f"messages that cannot be decoded: {report['strangers']}"
    yield f"recovery after a big fault: {report['recovery']}"
    for name in (
        "parked",
        "missing_facts",
        "dead_letters",
        "leftovers",
        "exits",
        "hung",
        "unheeded",
        "failed_faults",
        "not_done",
    ):
        if report[name]:
            yield f"{name.replace('_', ' ')}: {report[name]}"


def _bound(report: dict[str, Any]) -> str:
    return f" (a zero supports a rate below {report['bound']:.1e} at 95 %)" if report["bound"] else ""


def evidence(result: Result) -> Iterator[str]:
    """For the first voyages that are not as they must be: all that is known."""
    by_number: dict[int, list[str]] = defaultdict(list)
    for one in result.verdict.violations:
        by_number[one.number].append(f"{one.kind}: {one.what}")
    for number in sorted(by_number)[:_MOST_SHOWN]:
        yield from _case(result, result.dossiers[number], by_number[number])
    if len(by_number) > _MOST_SHOWN:
        yield f"... and {len(by_number) - _MOST_SHOWN} more voyages"


def _case(result: Result, dossier: Dossier, faults: list[str]) -> Iterator[str]:
    yield f"voyage {dossier.number} ({dossier.script}), saga {dossier.saga_id or 'never accepted'}"
    yield from (f"  ✖ {fault}" for fault in faults)
    entries = sorted([*dossier.effects, *dossier.told], key=lambda entry: entry.at)
    for e in entries:
        yield f"  {e.at:.3f} {e.book}: {e.step} {e.act} (attempt {e.attempt}, key {e.key})"
    yield from (f"  store {line}" for line in result.histories.get(dossier.number, []))
    if entries:
        first, last = entries[0].at - _AROUND, entries[-1].at + _AROUND
        around = [one for one in result.nemesis.done if one.until > first and one.at < last]
        yield from (f"  nemesis {one.at:.3f} to {one.until:.3f} {one.kind}: {one.did}" for one in around)


def write(path: Path, report: dict[str, Any]) -> None:
    """As JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
