"""The judge. First by the books alone, then, as a second look, by what the store says.

lost        an accepted start that came to no end: part of its effects, or no trace of an end at all
doubled     an effect twice, or taken back more often than it was there
standing    an effect that is left though the voyage did not happen
stuck       not ended by the store, or parked where the script gives no reason
unexpected  ended otherwise than the script says, or told otherwise than it ended
facts       told more than once where that is held together by a transaction, or never
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.ledgers import Dossier
from tests.chaos.scripts import OUTCOMES
from tests.chaos.voyages import DECKS, LARGE, SMALL, SOUVENIRS

KINDS = ("lost", "doubled", "standing", "stuck", "unexpected", "facts")
ENDED = ("completed", "compensated")
_STEPS = ("fare", "cabin", "sail", "miles")
_OF_A_CRUISE = ("fare", "guide", "bus", *(f"deck-{deck}" for deck in DECKS), "sail", "points", "miles")
_RACING = ("port", "starboard")
_EVENINGS = (("table", "dinner"), ("buffet",))
"""The two ways through a scope, one of which is gone."""
_SUBSCRIBERS = ("journal", "gazette")
_LATE = 300.0
"""Seconds that a fact may have waited in a queue before the queue was deleted."""


@dataclass(frozen=True)
class Word:
    """What the store says of a voyage."""

    saga_id: str
    status: str
    parked: str = ""


@dataclass(frozen=True)
class Violation:
    """Something that must not be."""

    kind: str
    number: int
    what: str


@dataclass
class Verdict:
    """What became of all."""

    violations: list[Violation] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    parked: Counter[str] = field(default_factory=Counter)
    """By script and reason."""
    missing_facts: list[tuple[int, str]] = field(default_factory=list)
    """Voyage and subscriber: lost with a queue, and not published again."""
    outings: int = 0
    """Flows that have begun beside the voyages."""
    by_the_store_only: int = 0
    """Voyages without effects whose end only the store and lost facts could tell."""

    def count(self, kind: str) -> int:
        """Voyages with a violation of this kind."""
        return len({one.number for one in self.violations if one.kind == kind})


def judge(
    dossiers: Mapping[int, Dossier], words: Mapping[int, Word], lossy: Sequence[tuple[float, float]], complete: bool
) -> Verdict:
    """Compare. `lossy` are the times in which queues were deleted; `complete` says that facts were published again
    since, so that none may be missing."""
    verdict = Verdict()
    for dossier in dossiers.values():
        word = words.get(dossier.number)
        if word is None and not dossier.saga_id and not dossier.effects and not dossier.told:
            verdict.outcomes["never started"] += 1  # asked for, never accepted, and indeed not there
            continue
        found = [*_effects(dossier), *_ends(dossier, word, verdict), *_facts(dossier, word, verdict, lossy, complete)]
        verdict.violations += [Violation(kind, dossier.number, what) for kind, what in found]
    return verdict


def _effects(dossier: Dossier) -> Iterator[tuple[str, str]]:
    """By the books alone."""
    chosen = list(_chosen(dossier)) if dossier.is_cruise else []
    usual = _expected_of(dossier) if dossier.is_expedition else _STEPS
    for step in (*_OF_A_CRUISE, *chosen) if dossier.is_cruise else usual:
        done, undone = dossier.count(step, "do"), dossier.count(step, "undo")
        if done > 1 or undone > 1:
            yield "doubled", f"{step}: done {done} times, undone {undone} times"
        if undone > done:
            yield "doubled", f"{step}: undone though it was not there"
        if not dossier.sailed and done > undone and OUTCOMES[dossier.script] != "parked":
            yield "standing", f"{step} is left, though the ship has not sailed"
        if dossier.sailed and done <= undone:
            yield "lost", f"the ship has sailed without {step}"
    if dossier.is_cruise:
        yield from _beside(dossier)
    yield from _one_tent(dossier)
    yield from _souvenir(dossier)


def _expected_of(dossier: Dossier) -> Sequence[str]:
    """What an expedition is to have: the large tent where it has accepted that."""
    tents = [tent for tent in (SMALL, LARGE) if dossier.count(tent, "do")]
    known = {"accepted": [LARGE], "none": [SMALL], "too_late": [SMALL]}.get(dossier.said.get("tent", ""), tents[:1])
    return ("permit", *dict.fromkeys((*known, *tents)), "sail", "miles")


def _one_tent(dossier: Dossier) -> Iterator[tuple[str, str]]:
    if dossier.net(SMALL) > 0 and dossier.net(LARGE) > 0:
        yield "standing", "two tents, of which one was wanted"


def _souvenir(dossier: Dossier) -> Iterator[tuple[str, str]]:
    """What a fact begins is there once, and only by a fact."""
    count = dossier.count("souvenir", "do")
    if count > 1:
        yield "doubled", f"{count} souvenirs"
    if count and not (dossier.sailed and dossier.number % SOUVENIRS == 0):
        yield "unexpected", "a souvenir that nothing has begun"


def _chosen(dossier: Dossier) -> Iterator[str]:
    """What a cruise is to have of its ways, as its own books tell it: the side that won, and one evening."""
    yield from [step for step in _RACING if dossier.net(step) > 0] or _RACING[:1]
    first, other = _EVENINGS
    yield from other if dossier.net(other[0]) > 0 else first


def _beside(dossier: Dossier) -> Iterator[tuple[str, str]]:
    """What a cruise is not to have beside that: somebody who lost, or what was tried in vain."""
    if (sides := [step for step in _RACING if dossier.net(step) > 0])[1:]:
        yield "standing", f"{' and '.join(sides)}, of which one was to win"
    evenings = [step for way in _EVENINGS for step in way if dossier.net(step) > 0]
    if "buffet" in evenings and len(evenings) > 1:
        yield "standing", f"{' and '.join(evenings)}, of which one way was to be gone"
    for step in (*_RACING, *(step for way in _EVENINGS for step in way)):
        if dossier.count(step, "do") > 1 or dossier.count(step, "undo") > dossier.count(step, "do"):
            yield (
                "doubled",
                f"{step}: done {dossier.count(step, 'do')} times, undone {dossier.count(step, 'undo')} times",
            )


def _ends(dossier: Dossier, word: Word | None, verdict: Verdict) -> Iterator[tuple[str, str]]:
    expected = OUTCOMES[dossier.script]
    if word is None:
        yield "lost", "accepted, and not in the store"
        return
    verdict.outcomes[word.status] += 1
    if dossier.saga_id and word.saga_id != dossier.saga_id:
        yield "unexpected", f"accepted as {dossier.saga_id}, in the store as {word.saga_id}"
    if word.status == "parked":
        verdict.parked[f"{dossier.script}: {word.parked}"] += 1
        if expected != "parked":
            yield "stuck", f"parked ({word.parked}), which its script does not explain"
    elif word.status not in ENDED:
        yield "stuck", f"still {word.status}"
    elif word.status != expected and expected != "either":
        yield "unexpected", f"{word.status} instead of {expected}"
    if word.status in ENDED and dossier.sailed != (word.status == "completed"):
        yield "unexpected", f"{word.status} by the store, but the ship has{'' if dossier.sailed else ' not'} sailed"


def _facts(
    dossier: Dossier, word: Word | None, verdict: Verdict, lossy: Sequence[tuple[float, float]], complete: bool
) -> Iterator[tuple[str, str]]:
    due: Collection[str] = ("held", "done") if dossier.sailed else ("off",)
    if word is not None and word.status not in ENDED:
        due = ("held",) if dossier.sailed else ()
    missing = [name for name in _SUBSCRIBERS if any(not dossier.heard(name)[fact] for fact in due)]
    for name in _SUBSCRIBERS:
        heard = dossier.heard(name)
        if more := [fact for fact, count in heard.items() if count > 1]:
            yield "facts", f"{name} was told more than once: {', '.join(more)}"
        if other := heard.keys() - set(due):
            yield "unexpected", f"{name} was told {', '.join(sorted(other))}"
    if len(missing) == len(_SUBSCRIBERS) and not dossier.effects and due:
        verdict.by_the_store_only += 1
    excused = not complete and _lost_with_a_queue(dossier, lossy)
    if "done" in due and dossier.number % SOUVENIRS == 0 and not dossier.count("souvenir", "do"):
        missing.append("souvenir")
    for name in missing:
        verdict.missing_facts.append((dossier.number, name))
        if not excused:
            yield "facts", f"{name} was never told"


def _lost_with_a_queue(dossier: Dossier, lossy: Sequence[tuple[float, float]]) -> bool:
    """Whether queues were deleted while its facts may have been in them. Without effects there is no time to go by."""
    times = [entry.at for entry in dossier.effects] or [until for _, until in lossy]
    return any(at - 1 < until < at + _LATE for _, until in lossy for at in times)
