"""Looking through the dead letters of an application: all of them, or those that are wanted."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace

from choros.desk.dead_letters import DeadLetter, dead_letter
from choros.errors import BrokerMisconfigured
from choros.transport.inspection import Look, LookingTransport
from choros.transport.port import Delivery, NotDeclared
from choros.transport.topology import Names, Topology

Shown = tuple[DeadLetter, Delivery]
MOST_BESIDE = 200
"""A queue with no more than so many is looked through where somebody asks for something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedLetters:
    """Which dead letters; what is not said wants them all."""

    ids: frozenset[str] = frozenset()
    queue: str = ""
    """Of the queue that they were taken from, or only the last part of its name."""
    kind: str = ""
    type: str = ""
    """The type name, with or without its version."""
    reason: str = ""
    """Part of the reason, in any case."""
    saga: str = ""
    """A saga's name, or an instance's id."""
    step: str = ""
    since: float = 0.0
    before: float = float("inf")
    """When they were parked. What nobody noted the time of is as old as can be."""

    def has(self, letter: DeadLetter) -> bool:
        """Whether this is one of them."""
        named = letter.queue == self.queue or letter.queue.endswith(f".{self.queue}")
        return (
            (not self.ids or letter.id in self.ids)
            and (not self.queue or named)
            and self.kind in ("", letter.kind)
            and self.type in ("", letter.type, letter.type.rpartition(".v")[0])
            and self.reason.lower() in letter.reason.lower()
            and self.saga in ("", letter.saga, letter.saga_id)
            and self.step in ("", letter.step)
            and self.since <= (letter.parked_at or 0.0) < self.before
        )


@dataclass(slots=True)
class Listing:
    """Some of the dead letters that are wanted."""

    found: list[DeadLetter] = field(default_factory=list)
    count: int = 0
    """How many there are, those not among these with them."""
    looked: int = 0
    """How many lie there, wanted or not."""
    missing: list[str] = field(default_factory=list)
    """Queues that are not there."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Dead letters of one saga."""

    found: Sequence[DeadLetter] = ()
    unread: Mapping[str, int] = field(default_factory=dict)
    """How many lie in queues that were not looked through."""


NONE_BESIDE = Beside()


def dead_queues(declared: Topology, names: Names) -> list[str]:
    """The queues of dead letters of everything that is declared there."""
    return [queue.name for queue in declared.queues if names.working_queue(queue.name)]


async def shown(look: Look, dead: str, names: Names, missing: list[str] | None = None) -> AsyncIterator[Shown]:
    """Each dead letter of a queue that is looked through, with its delivery: one is in memory at a time. A queue that
    is not there has none, and is noted."""
    try:
        while delivery := await look.take():
            yield dead_letter(delivery.wire, dead, names), delivery
    except NotDeclared:
        if missing is not None:
            missing.append(dead)


@dataclass(frozen=True, slots=True)
class Parkings:
    """Some queues of dead letters, and the way to them."""

    transport: LookingTransport
    queues: Sequence[str]
    names: Names

    async def walk(self, missing: list[str] | None = None) -> AsyncGenerator[Shown, None]:
        """All there, the oldest of each queue first; a queue's are given back before the next one's are shown."""
        for dead in self.queues:
            look = await self.transport.look(dead)
            try:
                async for one in shown(look, dead, self.names, missing):
                    yield one
            finally:
                await look.close()

    async def listing(
        self, wanted: WantedLetters, *, limit: int, skip: int = 0, told: Callable[[int], None] = lambda _: None
    ) -> Listing:
        """Those that are wanted, from the `skip`th on, at most so many; `told` how many were looked at. All are: a
        queue that is walked through to its end keeps its order, so the next page is the next."""
        listed = Listing()
        async with aclosing(self.walk(listed.missing)) as walking:
            async for letter, _ in walking:
                listed.looked += 1
                told(listed.looked)
                if not wanted.has(letter):
                    continue
                if listed.count >= skip and len(listed.found) < limit:
                    listed.found.append(letter)
                listed.count += 1
        return listed

    async def find(self, letter_id: str) -> Shown | None:
        """One by its id, with its delivery, which can be read and no longer settled."""
        one: Shown | None = None
        async for letter, delivery in self.walk():
            if letter.id == letter_id:
                one = letter, delivery
        return one

    async def beside(self, saga_id: str) -> Beside:
        """Those of one saga, where it costs little to say: who asks for something else must not keep them from others
        for long. A queue with many, or that this user may not read, is only counted."""
        its: list[DeadLetter] = []
        unread: dict[str, int] = {}
        for dead in self.queues:
            seen = await self.transport.attendance(dead)
            if not seen.waiting:
                continue
            unread[dead] = seen.waiting
            with suppress(BrokerMisconfigured):
                if seen.waiting <= MOST_BESIDE:
                    here = replace(self, queues=[dead])
                    its += (await here.listing(WantedLetters(saga=saga_id), limit=MOST_BESIDE)).found
                    del unread[dead]
        return Beside(its, unread)
