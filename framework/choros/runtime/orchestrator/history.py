"""What a saga's history holds, written with each transition and read by whoever looks.

A transition's part of it is a JSON array with an object for each thing that happened; a member that says nothing is
left out. A kind or a member that a newer choros has added is kept as it is, and what somebody has broken is shown as
unreadable: neither stops anybody.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic_core import to_json

from choros.saga.machine.inputs import Event
from choros.store.records import listed
from choros.store.sagas import HistoryRow
from choros.wire.envelope import Envelope

UNREADABLE = "unreadable"
"""The kind that stands for all that a transition did, where somebody has changed it so that nobody can read it."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One thing that happened to a saga. Empty is what is not said of it, or said by no text or number as it should."""

    kind: str
    """What: an event of the machine, `fact`, `declared`, `set_aside`, or what is not known to this choros."""
    step: str = ""
    operation: str = ""
    attempt: int = 0
    code: str = ""
    seconds: float = 0.0
    """For a scheduled retry: how long until it."""
    cause: str = ""
    """The id of the message or act behind it."""
    act: str = ""
    """What a person did who has signed it."""
    by: str = ""
    reason: str = ""
    declaration: str = ""
    """The text of the declaration that the instance follows from then on."""
    envelope: str = ""
    """Of a fact that was released, as it went out."""
    undone: tuple[str, ...] = ()
    """Of a refusal: what its participant has taken back itself."""
    stored: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """All that is stored of it, as it is."""

    def fact(self) -> Envelope:
        """The fact that was released; raises ValueError where it cannot be read."""
        return Envelope.loads(self.envelope)


Signed = Mapping[str, Mapping[str, str]]
"""By the id of an act, the members that its signature adds."""
_OF_AN_EVENT = ("kind", "step", "operation", "attempt", "code", "seconds", "cause", "undone")
_MEMBERS = tuple(one.name for one in fields(Happened) if one.name not in ("stored", "undone"))
_NUMBERS: Mapping[str, tuple[type, ...]] = {"attempt": (int,), "seconds": (int, float)}
SET_ASIDE = '[{"kind":"set_aside"}]'
"""What is written where replies were only kept, for a worker that knows the declaration."""
MOST_LATE = 16
"""Late replies and signals that a saga's history has at most."""
MOST_ATTEMPTS = 100
"""Attempts of one command that its history tells one by one."""
_TRIES = frozenset({"sent", "timed_out", "failed", "undeclared_refusal", "retry_scheduled"})


def told(events: Iterable[Event], late: int) -> tuple[tuple[Event, ...], int]:
    """The events that are kept, and how many late replies and signals the history has then: those beyond the bound
    change nothing, and anybody may send any number of them."""
    kept: list[Event] = []
    for event in events:
        if event.kind == "late_reply" or (event.kind, event.code) == ("too_late", "signal"):
            if late >= MOST_LATE:
                continue
            late += 1
        kept.append(event)
    return tuple(kept), late


def write_history(events: Iterable[Event], facts: Iterable[str], declared: str, signed: Signed) -> str:
    """What happened, as it is stored; nothing where nothing did. `facts` are envelopes as they go out. `declared` is
    the text of the declaration that the instance takes on with it, once: only so can a difference be named. `signed`:
    the first event that an act has brought about says who wanted it."""
    rows: list[dict[str, Any]] = [_members(event) for event in events if _is_kept(event)]
    left = dict(signed)
    for row in rows if left else ():
        row.update(left.pop(row.get("cause", ""), {}))
    if declared:
        first = rows.pop(0) if rows else {"kind": "declared"}
        rows.insert(0, {**first, "declaration": declared})
    rows += [{"kind": "fact", "envelope": fact} for fact in facts]
    return to_json(rows).decode() if rows else ""


def _is_kept(event: Event) -> bool:
    """Of a command that is tried for ever, the history tells the first attempts, and then ever fewer."""
    attempt = event.attempt
    return event.kind not in _TRIES or attempt <= MOST_ATTEMPTS or not attempt & (attempt - 1)


def _members(event: Event) -> dict[str, Any]:
    return {name: value for name in _OF_AN_EVENT if (value := getattr(event, name))}


def read_history(text: str) -> Sequence[Happened]:
    """What a transition did, of what is stored of it."""
    rows = listed(text or "[]")
    if isinstance(rows, list) and all(isinstance(one, dict) and isinstance(one.get("kind"), str) for one in rows):
        return [_happened(one) for one in rows]
    return [Happened(UNREADABLE, stored={"kind": UNREADABLE})]


def _happened(stored: Mapping[str, Any]) -> Happened:
    said = {name: stored[name] for name in _MEMBERS if type(stored.get(name)) in _NUMBERS.get(name, (str,))}
    return Happened(**said, undone=_texts(stored.get("undone")), stored=stored)


def _texts(stored: Any) -> tuple[str, ...]:
    return tuple(one for one in stored if isinstance(one, str)) if isinstance(stored, list) else ()


def as_data(history: Iterable[HistoryRow]) -> list[dict[str, Any]]:
    """A history as it is shown to a program: all that is stored."""
    return [
        {"version": row.version, "at": row.at, "events": [one.stored for one in read_history(row.events)]}
        for row in history
    ]


def answered_before(history: Iterable[HistoryRow], id: str) -> str:
    """What an act with this id came to, in a word; empty where nothing says."""
    said = (read_history(row.events) for row in history if id in row.events)
    return next((one.kind for row in said for one in row if one.cause == id), "")


def declared_in(history: Sequence[HistoryRow]) -> str:
    """The text of the declaration that an instance follows; empty where its history does not say it."""
    texts = (
        one.declaration
        for row in reversed(history)
        if '"declaration"' in row.events  # most rows need not be read
        for one in reversed(read_history(row.events))
    )
    return next(filter(None, texts), "")
