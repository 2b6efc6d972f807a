"""What an exploration found, for people and, as JSON, for programs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from choros.saga.saga import Saga
from choros_verify.exploration.bounds import Bounds
from choros_verify.exploration.decisions import Happening
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.search import Found, peak_mib
from choros_verify.exploration.story import Teller

SCHEMA = "choros.verify/1"
"""Raised when a field of the report changes its meaning or goes."""


@dataclass(frozen=True)
class ExplorationReport:
    """One exploration. As JSON: these fields, and nothing else; more may be added."""

    saga: str
    version: int
    complete: bool
    """Whether every interleaving within the budgets was visited."""
    states: int
    transitions: int
    depth: int
    """Events in the longest story that had to be told to reach a new state."""
    seconds: float
    peak_mib: float
    """The most memory of this process, in MiB."""
    duplicates: int
    crashes: int
    retries: int
    horizons: int
    seed: int
    ends: Mapping[str, int]
    """States in which the saga is at rest, by status."""
    violation: str = ""
    invariant: int = 0
    """The number of the invariant that is broken, as `holds.py` lists them."""
    notes: list[str] = field(default_factory=list)
    """What functions of the declaration did wrong, given the messages of this exploration; then its sagas park."""
    not_taken: list[str] = field(default_factory=list)
    """Branches of choices that the messages of this exploration never led into."""
    story: list[str] = field(default_factory=list)
    """For a violation: the shortest way to it, in words."""

    def to_json(self) -> dict[str, object]:
        """The report as JSON values."""
        return {"schema": SCHEMA, **asdict(self)}


def explore(
    saga: Saga[Any], bounds: Bounds | None = None, *, start: str = "", replies: Mapping[str, str] | None = None
) -> ExplorationReport:
    """Explore one saga; `start` is the body of its start message, `replies` are bodies by type name; what is missing is
    made up. Raises UsageError."""
    exploration = Exploration(saga, bounds or Bounds(), start=start, replies=replies or {})
    return report(exploration, exploration.run())


def report(exploration: Exploration, found: Found[Happening]) -> ExplorationReport:
    """Put into words what was found."""
    saga, bounds = exploration.saga, exploration.bounds
    violation = found.violation
    return ExplorationReport(
        saga=saga.name,
        version=saga.version,
        complete=found.complete and violation is None,
        states=found.states,
        transitions=found.transitions,
        depth=found.depth,
        seconds=round(found.seconds, 2),
        peak_mib=round(peak_mib(), 1),
        duplicates=bounds.budgets.duplicates,
        crashes=bounds.budgets.crashes,
        retries=bounds.budgets.retries,
        horizons=bounds.budgets.horizons,
        seed=bounds.seed,
        ends=dict(sorted(found.ends.items())),
        violation=violation.sentence if violation else "",
        invariant=violation.number if violation else 0,
        notes=found.notes,
        not_taken=found.not_taken,
        story=Teller(exploration.explored).tell(found.events) if violation else [],
    )


PARKED = (
    "  parked keeps the promise: where nothing may be given up (the pivot, a step",
    "  behind it, an undo) and the attempts ran out, it waits for a person, who then",
    "  retries or skips. Each state counts, however rare: here anything may fail.",
)
"""Why it is right that sagas end so, and why so many states are of that kind."""


def lines(told: ExplorationReport, *, explained: bool = True, acts: str = "cancel, pause, skip") -> list[str]:
    """The report as a person reads it; with a word on what is parked, if wanted. `acts` are those that were tried."""
    within = ", ".join(
        (
            _count(told.duplicates, "duplicate"),
            _count(told.crashes, "crash", "crashes"),
            _count(told.retries, "retry", "retries"),
            *([_count(told.horizons, "horizon")] if told.horizons else ()),
        )
    )
    out = [
        f"saga {told.saga} (version {told.version}): {told.states:,} states, {told.transitions:,} transitions,"
        f" {told.seconds:.1f} s, {told.peak_mib:.0f} MiB at most",
        f"  budgets: {within}; refusals, failures, silence, {acts} at every moment",
        "  ends: " + (", ".join(f"{status} in {count:,}" for status, count in told.ends.items()) or "none"),
    ]
    out += PARKED if explained and told.ends.get("parked") else ()
    blame = "such a saga parks. If only the made-up messages are to blame: --start, --reply"
    out += [f"ℹ {note}: {blame}" for note in told.notes]
    if told.complete:
        out += [f"ℹ {way}: try other messages, too (--start, --reply)" for way in told.not_taken]
    if told.violation:
        out += [f"✖ {told.violation} (invariant {told.invariant})", "  The shortest story that leads there:"]
        out += [f"  {number}. {sentence}" for number, sentence in enumerate(told.story, 1)]
    elif told.complete:
        out.append("✔ complete: every interleaving within these budgets, and no promise was broken")
    else:
        out.append("ℹ NOT complete: stopped at its cap of states; no promise was broken so far")
    return out


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"
