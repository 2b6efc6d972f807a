"""What came for one saga, told apart: what is new to it, what it has taken in before, and what it must not take in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from choros.errors import ChorosError, MessageRejected, MessageUnwritable, StartConflict
from choros.runtime.orchestrator.history import MOST_ATTEMPTS
from choros.runtime.orchestrator.received import taken_in
from choros.runtime.orchestrator.work import Start, Unjudged, Work
from choros.saga.machine.inputs import Event, Input
from choros.saga.machine.instance import Instance
from choros.saga.renaming import renaming
from choros.saga.saga import Sagas
from choros.store.sagas import Loaded, Record
from choros.wire.canonical import canonical
from choros.wire.command_key import CommandKey

Rejected = tuple[Work, ChorosError]
"""Work, and why it is not taken in."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """What came for one saga, told apart."""

    fresh: Sequence[Work]
    repeated: Sequence[Work]
    rejected: Sequence[Rejected]

    def judged(self, meant: Callable[[Work], Input]) -> tuple[Sorted, Sequence[Input]]:
        """What the fresh work means to a declaration. `meant` raises MessageRejected for what nothing can have asked
        for; of what then is left under one id the first counts, which the others repeat."""
        inputs: dict[Work, Input] = {}
        repeated, rejected, taken = list(self.repeated), list(self.rejected), set[str]()
        for work in self.fresh:
            try:
                given = meant(work)
            except MessageRejected as unfit:
                rejected.append((work, unfit))
                continue
            if work.id and work.id in taken:
                repeated.append(work)
            else:
                inputs[work] = given
                taken.add(work.id)
        return Sorted(list(inputs), repeated, rejected), list(inputs.values())

    def without(self, strays: Collection[str]) -> Sorted:
        """The same, where the machine says of replies with these ids that no command of the saga asked for them."""
        if not strays:
            return self
        stray = MessageRejected("No command of this saga asked for this reply.")
        return Sorted(
            [work for work in self.fresh if work.id not in strays],
            [work for work in self.repeated if work.id not in strays],
            [*self.rejected, *((work, stray) for work in (*self.fresh, *self.repeated) if work.id in strays)],
        )


def sort(works: Sequence[Work], loaded: Loaded, sagas: Sagas, instance: Instance | None = None) -> Sorted:
    """Tell apart what came for the saga of this record; raises Lacking where what is loaded does not do for that. What
    the saga waits for as this `instance`, if that is at hand, was never taken in."""
    rejected = _begun(works, loaded.record, sagas)
    inputs = [work for work in works if work.id and not isinstance(work.given, Start)]
    known = taken_in(loaded, [work.id for work in inputs if instance is None or not is_awaited(work, instance)])
    fresh: dict[str, list[Work]] = {}
    repeated: list[Work] = []
    refused = {work for work, _ in rejected}
    for work in (one for one in works if one not in refused):
        if isinstance(work.given, Start) or (
            work.id and (work.id in known or any(work.given == twin.given for twin in fresh.get(work.id, ())))
        ):
            repeated.append(work)
        else:  # also what is another message under the same id: one of them may be forged
            fresh.setdefault(work.id, []).append(work)
    return Sorted([work for twins in fresh.values() for work in twins], repeated, rejected)


def is_awaited(work: Work, instance: Instance) -> bool:
    """Whether this answers the very attempt that is under way. Once it is taken in, that attempt is not awaited any
    more, whatever the answer says, but for one that says that the command is finished later. So a long saga need not
    ask with each of them whether it was."""
    if not isinstance(work.given, Unjudged) or work.given.envelope.kind != "reply":
        return False
    envelope = work.given.envelope
    key = CommandKey.parse(envelope.key)
    state = instance.state(renaming(instance).here(key.path))
    if state.leg is None or state.leg.finish_by is not None or key.round != state.round:
        return False
    return state.leg.awaits_answer(key.operation, envelope.attempt)


def _begun(works: Sequence[Work], record: Record, sagas: Sagas) -> list[Rejected]:
    """Starts of a saga that has begun, with another message; of one with the same, what is left is to tell it."""
    rejected: list[Rejected] = []
    for work in works:
        if isinstance(work.given, Start):
            if error := conflict(work.given, record, sagas):
                rejected.append((work, error))
            elif work.given.signal:
                work.given = work.given.signal
    return rejected


def known_again(works: Collection[Work], events: Sequence[Event], told: Sequence[Event]) -> tuple[str, ...]:
    """The ids taken in, by which an input that comes again, or whose commit was not answered, is known.

    Not kept is what is known without: late replies beyond the bound, and failures of high attempts, since the attempt
    that is awaited answers for them. A refusal that nobody declared decides nothing: the participant keeps it as its
    answer, and once it is declared the same answer must count. A signal off the wire that was not kept is parked, and
    may come back. Nor is kept what the saga around it commands: it may be
    taken in twice."""
    lost = {event.cause for event in events if event.kind == "undeclared_refusal"}
    if len(told) < len(events):
        lost |= {event.cause for event in events if event not in told}
    lost |= {work.id for work in works if work.delivery} & {one.cause for one in events if one.kind == "not_kept"}
    lost |= {event.cause for event in told if event.kind == "failed" and event.attempt > MOST_ATTEMPTS}
    return tuple(work.id for work in works if work.id and work.id not in lost and not work.is_order)


def conflict(start: Start, record: Record, sagas: Sagas) -> StartConflict | None:
    """The error where the saga of this record was begun with another message."""
    if _says_the_same(start, record, sagas):
        return None
    return StartConflict(
        f"saga {start.saga!r} was started under this key with another body.", "use another key, or send the same body."
    )


def _says_the_same(start: Start, record: Record, sagas: Sagas) -> bool:
    """In whatever way it was written. An older choros made its digest of the text as it was sent, whatever the order
    of a set in it; of a deleted saga only that is left."""
    if record.digest == start.digest:
        return True
    saga = sagas.get((start.saga, start.version))
    if not start.said or saga is None:
        return False
    if record.digest == hashlib.sha256(start.body.encode()).hexdigest():
        return True
    with suppress(ValueError, MessageRejected, MessageUnwritable):
        begun = saga.start.from_json(Instance.loads(record.state).start)
        return canonical(begun, begun.to_json()) == start.said
    return False
