"""The participants of an exploration do as the real barrier does, on a real transaction: rows, answers and effects."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

import pytest

from choros import Call, Done, Refused, Service, Transaction
from choros.messages import Failure
from choros.runtime.host.admission import understood
from choros.runtime.host.slots import Calls
from choros.runtime.participant.answers import Answer
from choros.runtime.participant.execution import Execution
from choros.store.barrier import Ok, Raised
from choros.store.memory.barrier import MemoryDatabase, MemoryTransaction
from choros.wire.envelope import Envelope
from choros_verify.exploration.books import Books
from choros_verify.exploration.participants import TRANSIENT, Participants
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.wire import Ordered
from tests.exploration.trips import BookRoom, CancelRoom, trip_saga
from tests.runtime.participant_stage import close, command

EARLY, DEADLINE, LATE = 1_000.0, 1_100.0, 1_101.0
EFFECT = "saga:book_room:1"
KEYS = (f"{EFFECT}:do", f"{EFFECT}:undo", f"{EFFECT}:close", f"{EFFECT}:close:undo")


class Given(NamedTuple):
    """One command that arrives, and how its handler fares."""

    operation: Literal["do", "undo", "close"]
    mood: str = "ok"
    late: bool = False
    of: Literal["do", "undo"] = "do"


GIVENS = [
    Given("do"), Given("do", "refused"), Given("do", "broken"), Given("do", late=True),
    Given("undo"), Given("undo", "broken"), Given("close"), Given("close", of="undo"),
]  # fmt: skip


class Hotel:
    """A real participant's barrier, with a hotel behind it."""

    def __init__(self) -> None:
        self.now, self.mood = EARLY, "ok"
        self.database = MemoryDatabase()
        self.service = Service("payment")
        self.service.handles(BookRoom)(self.book)
        self.service.handles(CancelRoom)(self.cancel)
        self.execution = Execution("/travel/hotel", clock=lambda: self.now, clock_skew=0.0, calls=Calls())

    async def book(self, message: BookRoom, db: MemoryTransaction, call: Call) -> Done:
        return await self._change(db, 1)

    async def cancel(self, message: CancelRoom, db: MemoryTransaction, call: Call) -> Done:
        return await self._change(db, -1)

    async def _change(self, db: MemoryTransaction, by: int) -> Done:
        await db.put("rooms", await db.get("rooms", 0) + by)
        if self.mood == "refused":
            raise Refused("full")
        if self.mood == "broken":
            raise ConnectionError
        return Done()

    async def take(self, given: Given) -> tuple[str, str]:
        """What is answered: outcome and code."""
        self.now, self.mood = LATE if given.late else EARLY, given.mood
        job = self.execution.job(understood(self._envelope(given), self.service))
        (result,) = await self.database.run([job])
        if isinstance(result, Ok):
            assert isinstance(result.value, Answer)
            reply = result.value.reply
            return reply.outcome or "ok", Failure.from_json(reply.data).code if reply.outcome == "refused" else ""
        assert isinstance(result, Raised)
        assert isinstance(result.error, ConnectionError), result
        return "failed", TRANSIENT

    def _envelope(self, given: Given) -> Envelope:
        more: dict[str, Any] = {
            "saga": "saga",
            "not_after": DEADLINE,
            "key": f"{EFFECT}:{given.operation}",
            "step": "book_room",
        }
        if given.operation == "close":
            return close(given.of, **more)
        return command((BookRoom if given.operation == "do" else CancelRoom)(trip="t"), given.operation, **more)

    async def rows(self) -> list[str]:
        """The states of the rows of the effect."""
        states: list[str] = []

        async def look(transaction: Transaction) -> None:
            for key in KEYS:
                row = await transaction.read_row(key)
                states.append(row.state if row else "")

        await self.database.run([look])
        return states

    @property
    def rooms(self) -> int:
        return int(self.database.items.get("rooms", 0))


def ordered(given: Given) -> Ordered:
    deadline: Literal["ahead", "past"] = "past" if given.late else "ahead"
    return Ordered(0, 1, given.operation, 1, deadline, given.of if given.operation == "close" else "")


def states(books: Books) -> list[str]:
    rows = [books.find(key) for key in KEYS]
    return [row.state if row else "" for row in rows]


async def follow(participants: Participants, givens: Sequence[Given], seen: set[str]) -> None:
    """Let the same commands arrive at both; at each, what the real one does is among what the other may do."""
    hotel, books, by_hand = Hotel(), Books(), False
    await hotel.database.open()
    for given in givens:
        answer, rows = await hotel.take(given), await hotel.rows()
        told = list(participants.carry_out(books, ordered(given)))
        fitting = [one for one in told if one.reply and (one.reply.outcome, one.reply.code) == answer]
        fitting = [one for one in fitting if states(one.books) == rows]
        assert fitting, f"{givens} at {given}: really {answer} {rows}, of {[(o.said, states(o.books)) for o in told]}"
        books = fitting[0].books
        seen.add(fitting[0].said)
        by_hand = by_hand or (given.operation == "close" and given.of == "undo")
        assert by_hand or hotel.rooms == books.applied - books.undone, givens
    await hotel.database.close()


@pytest.mark.parametrize("first", GIVENS)
async def test_whatever_arrives_in_whatever_order_both_do_the_same(first: Given) -> None:
    participants = Participants(trip_saga, Protocol(), {"choros.done.v1": "{}"}, frozenset(), 0)
    seen: set[str] = set()
    for rest in product(GIVENS, repeat=2):
        await follow(participants, (first, *rest), seen)
    assert len(seen) >= 4
