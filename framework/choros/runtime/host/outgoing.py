"""Messages on their way out: where they are kept meanwhile, how those of each kind leave, and in which order."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from choros.wire.envelope import Envelope


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message that is committed and has not left yet, as far as anybody knows."""

    id: str
    """Under which its outbox keeps it."""
    group: str
    """What it belongs to there, within which it may have to keep its order; empty where it is kept nowhere."""
    read: Callable[[], Envelope]
    """Reads what is kept, or raises."""
    told: Callable[[str], None] | None = None
    """Of whoever waits: called once, when it has left, with nothing, or with why it never will."""
    mark_by: float = inf
    """By when, on the loop's clock, it shall be marked that it has left."""
    message: Envelope | None = None
    """Once it is read."""

    @property
    def destination(self) -> str:
        """Where it goes; a fact goes where its type leads."""
        return (self.message.to or self.message.type) if self.message else ""

    def tell(self, why: str) -> None:
        """It has left, or this is why it never will."""
        if self.told is not None:
            self.told(why)
        self.told = None


class MessageOutbox(Protocol):
    """Where what is committed is kept until it has left; both may raise StoreUnreachable."""

    async def unsent(self, limit: int) -> Sequence[Outgoing]:
        """What has been there for a while, the oldest first, and of one group in order."""

    async def mark_sent(self, left: Sequence[tuple[str, str]]) -> None:
        """These have left, by group and id. It may be told late: a message sent twice does no harm."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How messages of one kind leave, and what the log says of it."""

    channel: str
    in_order: bool = False
    """Whether those of one group must not overtake each other: then one batch leaves at a time, and what did not leave
    is kept in hand, with all behind it. Else only what somebody waits for is; the next scan finds the others."""
    unbound: str = ""
    """Said where no queue takes one, if it counts as sent all the same."""
    mark_within: float = inf
    """Seconds after which it is marked that one has left, where that is sooner than anyway."""
    unconfirmed: str = "choros.publish.unconfirmed"
    resent: str = "choros.outbox.resent"
    unreadable: str = "choros.outbox.unreadable"
    names: tuple[str, str] = ("saga_id", "message_id")
    """What the log calls the group and the id of one that cannot be read."""
    away: str = "choros.store.unreachable"


COMMANDS = Manner("commands")
LOCAL = Manner("local", mark_within=0.05)
"""Marked before whoever else looks for what was left takes it for that."""
FACTS = Manner("facts", in_order=True, unbound="choros.fact.unbound")
REPLIES = Manner(
    "replies",
    mark_within=0.0,
    unconfirmed="choros.reply.unconfirmed",
    resent="choros.reply.resent",
    unreadable="choros.reply.unreadable",
    names=("key", "key"),
    away="choros.database.unreachable",
)


class Lines:
    """Who waits behind whom: where messages keep their order, each group is a line, and else each message is one. What
    has not left stays at the head of its line, and keeps back all behind it."""

    def __init__(self, *, in_order: bool) -> None:
        self._in_order = in_order
        self._kept: dict[object, list[Outgoing]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, one: Outgoing) -> object:
        """What it stands in."""
        return one.group if self._in_order else one

    def going(self, waiting: Iterable[Outgoing]) -> list[Outgoing]:
        """Those that may leave now; the others stand behind what has not left."""
        going: list[Outgoing] = []
        for one in waiting:
            self._kept.get(self.of(one), going).append(one)
        return going

    def keep(self, one: Outgoing) -> None:
        """It has not left."""
        self._kept.setdefault(self.of(one), []).append(one)

    def again(self, due: Callable[[Iterable[str]], set[str]]) -> list[Outgoing]:
        """What is to be tried again, with all behind it; of each line its first decides when."""
        now = due(line[0].id for line in self._kept.values())
        lines = [line for line, kept in self._kept.items() if kept[0].id in now]
        return [one for line in lines for one in self._kept.pop(line)]

    def unwanted(self) -> list[Outgoing]:
        """Those for which nobody waits any more; they are kept no longer. What keeps its order is wanted by itself."""
        given_up = [] if self._in_order else [one for (one, *_) in self._kept.values() if one.told is None]
        for one in given_up:
            del self._kept[one]
        return given_up
