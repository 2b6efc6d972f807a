"""What the simulated broker has done with every message: an append-only list that invariants are checked against."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

from choros.wire.envelope import Wire

What = Literal[
    "published",
    "answered",
    "swallowed",
    "queued",
    "delivered",
    "returned",
    "acked",
    "dead_lettered",
    "dropped",
    "deleted",
    "lost",
]
"""published: it reached the broker (`note`: the broker's verdict); answered: the process heard so (`note`: what);
swallowed: a test wanted it to vanish;
queued: a copy lies in a queue; delivered: a copy reached a consumer; returned: it went back into its queue. The rest
end a copy: acked; dead_lettered (a new copy lies elsewhere); dropped (given up with nowhere to go); deleted (with its
queue); lost (it was never confirmed, and a restart took it)."""
ENDS: tuple[What, ...] = ("acked", "dead_lettered", "dropped", "deleted", "lost")


class LedgerLine(NamedTuple):
    """One line of the ledger."""

    at: float
    """Seconds by the loop's clock."""
    what: What
    message: str
    """The message's own id (`cloudEvents_id`), empty for what is no message of choros."""
    queue: str = ""
    copy: int = 0
    """The copy's number, counted from 1; 0 where no copy is meant, and in the fact log, which keeps all."""
    process: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """How many copies came in and what became of them; `balanced` means that none went unnoticed."""

    queued: int
    present: int
    """In a queue or with a consumer."""
    ends: dict[str, int]

    @property
    def balanced(self) -> bool:
        """Whether every copy is accounted for."""
        return self.queued == self.present + sum(self.ends.values())


class Ledger:
    """The list, and what can be asked of it."""

    def __init__(self) -> None:
        self.entries: list[LedgerLine] = []
        self.about: dict[str, Wire] = {}
        """Every message that was published, by its id."""

    def account(self, present: int) -> Balance:
        """The sum, given how many copies the broker still holds."""
        counts = Counter(entry.what for entry in self.entries if entry.copy)
        return Balance(counts["queued"], present, {end: counts[end] for end in ENDS if counts[end]})

    def ended_twice(self) -> list[int]:
        """Copies that came to more than one end; there should be none."""
        ends = Counter(entry.copy for entry in self.entries if entry.what in ENDS)
        return [copy for copy, times in ends.items() if times > 1]

    def confirmed(self) -> set[str]:
        """Messages whose publisher was told that the broker has them."""
        return {entry.message for entry in self.entries if entry.what == "answered" and entry.note == "confirmed"}

    def vanished(self) -> list[str]:
        """Confirmed messages of which no copy was ever acked or is still there, though no test asked for it."""
        ended = {entry.copy: entry.what for entry in self.entries if entry.what in ENDS}
        kept: set[str] = set()
        for entry in self.entries:
            there = entry.what == "queued" and ended.get(entry.copy) in (None, "acked")
            if there or entry.what == "swallowed":
                kept.add(entry.message)
        return sorted(self.confirmed() - kept)


def message_of(wire: Wire) -> str:
    """The message's own id."""
    value = wire.headers.get("cloudEvents_id", "")
    return value if isinstance(value, str) else ""
