"""Faults as data: each strikes once, so a list of them can be printed, replayed, and shrunk by leaving some out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

MessageFault = Literal["duplicate", "delay", "reorder", "cut_before", "cut_after", "return", "nack", "forge"]
"""Counted by the messages that the target process publishes. duplicate: it arrives twice; delay: `amount` seconds late,
though confirmed at once; reorder: ahead of what waits; cut_before, cut_after: the process loses its connection before
or after the broker has the message, and gets no answer; return, nack: the broker does not take it; forge:
a stranger sends one like it, with something about it that nobody asked for (`amount` says what)."""
ProcessFault = Literal["crash", "pause"]
"""Counted by the steps that the target process makes. crash: no `finally` runs, it starts again `amount` seconds later
from what is durable; pause: it stands still for `amount` seconds."""
StoreFault = Literal["refuse", "unknown", "stall", "lose", "deny"]
"""Counted by the writes to the target store or database. refuse: nothing happens, and the caller is told so; unknown:
it happens, but the caller hears of an error; stall: the answer takes `amount` seconds; lose: after this write the last
`amount` commits are gone, as with Redis `everysec` or after a failover; deny: nothing happens, and the caller hears
that the store must not be used, as while a password is changed."""
FrameFault = Literal["cut_frame", "half_open", "slow_read", "late_answer", "no_answer", "close_channel"]
"""Counted by the frames that the target process sends, where it runs on frames. cut_frame: the connection is cut, in
the middle of whatever is under way either way; half_open: nothing arrives any more on it, in both directions
(`amount` 0), to the process (1) or from it (2), and nobody is told; slow_read: for `amount` seconds each side takes a
few bytes at a time; late_answer: the broker takes up what is asked on this channel after `amount` seconds; no_answer:
it never does; close_channel: it closes this channel."""
RedisFault = Literal["readonly", "oom", "noscript", "loading", "silent"]
"""Counted by the writes, too, where the target is a Redis. readonly: another server is the primary by now; for `amount`
seconds the address still leads to the old one, which takes no writes; oom: it has no memory left for `amount` seconds;
noscript: it has forgotten all scripts; loading: it is started again, and answers for `amount` seconds only that it
loads its data; silent: the write is done, and from then on nothing arrives on this connection, either way, and nobody
is told."""
SqliteFault = Literal["busy", "disk_full", "killed"]
"""The same where it is a SQLite file, counted by transactions. busy: somebody else keeps a lock on it for `amount`
seconds; disk_full: it cannot grow for `amount` seconds; killed: the process dies in the middle, after so many
statements (`amount`) or at the latest after the commit, before anybody hears of that. A file never does `lose` any."""
CallFault = Literal["away"]
"""Counted by the calls that handlers make on the target database. away: the call fails, and the handler goes on."""
TimedFault = Literal[
    "skew", "jump", "block", "restart", "empty", "cancel", "ack_timeout", "full", "deploy", "outage", "older"
]
"""`nth` is a second of virtual time. skew, jump: the target process's clock is `amount` seconds off from the start, or
from then on; block: the broker takes nothing for `amount` seconds (an alarm); restart: it is away for `amount`
seconds and keeps what it confirmed; empty: it comes back with no queue and no message; cancel: the target queue's
consumers are cancelled; ack_timeout: what is unsettled on the target queue has been so for too long; full: the target
queue refuses for `amount` seconds; deploy: the target orchestrator runs for `amount` seconds with its sagas declared
otherwise under the same versions; outage: the target store or database answers nothing for `amount` seconds; older: the
target service or subscriber runs for `amount` seconds without one of its handlers."""
RARE: tuple[str, ...] = ("forge", "deny", "outage", "older")
"""Kinds that are not drawn with the others, but on top of a plan."""
StrangerFault = Literal["undecodable", "oversized"]
"""`nth` is a second of virtual time, where there are frames. undecodable: a stranger puts a message into the target
queue whose properties or routing key nobody can decode, in one of so many ways (`amount`); oversized: one with a body
of `amount` KiB."""
FaultKind = (
    MessageFault
    | FrameFault
    | ProcessFault
    | StoreFault
    | RedisFault
    | SqliteFault
    | CallFault
    | TimedFault
    | StrangerFault
)

Occasion = Literal["message", "frame", "step", "write", "call"]
"""A process publishes a message, sends a frame or makes a step; a store or database is written to, or called by a
handler."""
COUNTED_BY: Mapping[str, Occasion] = {
    **dict.fromkeys(get_args(MessageFault), "message"), **dict.fromkeys(get_args(FrameFault), "frame"),
    **dict.fromkeys(get_args(ProcessFault), "step"), **dict.fromkeys(get_args(CallFault), "call"),
    **dict.fromkeys((*get_args(StoreFault), *get_args(RedisFault), *get_args(SqliteFault)), "write"),
}  # fmt: skip
"""What the kinds of faults are counted by that do not go by the clock."""
KINDS: tuple[str, ...] = tuple(kind for group in get_args(FaultKind) for kind in get_args(group))
ON_FRAMES: tuple[str, ...] = (*get_args(FrameFault), *get_args(StrangerFault))
"""Those that strike only where processes reach the broker by frames."""
ON_STORES: Mapping[str, tuple[str, ...]] = {
    "memory": ("lose",), "redis": ("lose", *get_args(RedisFault)), "sqlite": get_args(SqliteFault)
}  # fmt: skip
"""Those that strike only where stores and databases are of this kind."""


def kinds_of(*, frames: bool, stores: Iterable[str] = ("memory",)) -> tuple[str, ...]:
    """What can strike where there are frames or none, on such stores."""
    there = {*(ON_FRAMES if frames else ()), *(kind for store in stores for kind in ON_STORES[store])}
    apart = {*ON_FRAMES, *(kind for kinds in ON_STORES.values() for kind in kinds)}
    return tuple(kind for kind in KINDS if kind in there or kind not in apart)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that goes wrong: at the nth occasion on the target, counted from 1."""

    kind: FaultKind
    target: str
    """The process, store or queue by its name in the world."""
    nth: int
    amount: float = 0.0

    def __str__(self) -> str:
        amount = f" ({self.amount:g})" if self.amount else ""
        return f"{self.kind} {self.target} at {self.nth}{amount}"


class Faults:
    """A list of faults during one run: counts the occasions, and says when one of them strikes."""

    def __init__(self, planned: Iterable[Fault] = ()) -> None:
        self._by_occasion: dict[tuple[str, int], list[Fault]] = {}
        self._occasions: Counter[str] = Counter()
        self.timed: list[Fault] = []
        """Those that strike by the clock, soonest first."""
        self.struck: list[Fault] = []
        """What has struck so far, in order."""
        self.calm = False
        """Once set, nothing strikes any more: what must still happen, must happen now."""
        self.away: Counter[str] = Counter()
        """Stores and databases that do not answer, while that is not 0."""
        self.planned = tuple(planned)
        """All of them, as they were given."""
        for fault in self.planned:
            if fault.kind in COUNTED_BY:
                occasion = f"{COUNTED_BY[fault.kind]} {fault.target}"
                self._by_occasion.setdefault((occasion, fault.nth), []).append(fault)
            else:
                self.timed.append(fault)
        self.timed.sort(key=lambda fault: (fault.nth, fault))

    def strike(self, fault: Fault) -> None:
        """A timed fault strikes."""
        self.struck.append(fault)

    def occasions(self) -> dict[str, int]:
        """How often each could have struck, by 'message NAME', 'step NAME', 'write NAME', 'call NAME'."""
        return dict(self._occasions)

    def count(self, what: Occasion, target: str) -> Sequence[Fault]:
        """One more occasion on this target, and what strikes at it."""
        occasion = f"{what} {target}"
        self._occasions[occasion] += 1
        if self.calm or not self._by_occasion:
            return ()
        struck = self._by_occasion.get((occasion, self._occasions[occasion]), ())
        self.struck.extend(struck)
        return struck
