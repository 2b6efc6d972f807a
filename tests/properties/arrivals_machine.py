"""The life of a consumer: deliveries come, are taken, are lost with their connection, and end; and a log is read on.

What must hold: each is taken once, in order, at most as many as are asked for; what was lost, or comes after the end,
is taken by nobody; why nothing more comes is told only once all that came is taken; whoever receives is woken for all
of it, and waits for the end of a burst only under load, and at most as long as may be. And a log is read on with the
first that was not settled.
"""

from __future__ import annotations

from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from choros.transport.arrivals import BURST_LOOKS, BURST_SECONDS, BUSY_RATE, WINDOW_SECONDS, Arrivals, Pace
from choros.transport.fact_log import OFFSET
from choros.transport.log_place import LogPlace
from choros.wire.envelope import Wire


class ArrivalsMachine(RuleBasedStateMachine):
    """`kind` is what is tested, or a mutant of it."""

    def __init__(self, kind: type[Arrivals[int]] = Arrivals) -> None:
        super().__init__()
        self.arrivals = kind()
        self.arrivals.wake = self._woken
        self.awake = False
        self.came = 0
        self.waiting: deque[int] = deque()
        self.closed = self.failed = False

    def _woken(self) -> None:
        self.awake = True

    def _come(self, count: int) -> None:
        for _ in range(count):
            self.came += 1
            self.waiting.append(self.came)
            self.awake = False
            self.arrivals.came(self.came)
            assert self.awake

    @rule(count=st.integers(1, 9))
    def come(self, count: int) -> None:
        self._come(count)

    @rule(limit=st.integers(1, 20))
    def take(self, limit: int) -> None:
        count = 0 if self.closed else min(limit, len(self.waiting))
        expected = [self.waiting.popleft() for _ in range(count)]
        assert self._taken(limit) == (None if self.failed and not self.closed and not count else expected)

    def _taken(self, limit: int) -> list[int] | None:
        """What is taken; None where it says that it has failed."""
        try:
            return self.arrivals.take(limit)
        except LookupError:
            return None

    @rule(limit=st.integers(1, 20), coming=st.lists(st.integers(0, 9), min_size=BURST_LOOKS + 1))
    def pause(self, limit: int, coming: list[int]) -> None:
        """The end of a burst is waited for as long as it grows and is not enough."""
        pauses = self.arrivals.pauses(limit)
        looks = 0
        for more, seconds in zip(coming, pauses, strict=False):
            assert seconds == BURST_SECONDS
            looks += 1
            self._come(more)
            if not more or len(self.waiting) >= limit:
                assert next(pauses, None) is None, "it waits on for nothing"
                break
        assert looks <= BURST_LOOKS

    @rule()
    def lose(self) -> None:
        """The connection is gone."""
        self.waiting.clear()
        self.arrivals.waiting.clear()

    @rule()
    @precondition(lambda self: self.came > 20)
    def fail(self) -> None:
        self.failed, self.awake = True, False
        self.arrivals.fail(LookupError())
        assert self.awake

    @rule()
    @precondition(lambda self: self.came > 20)
    def close(self) -> None:
        self.closed, self.awake = True, False
        self.arrivals.close()
        assert self.awake

    @invariant()
    def who_receives_waits_for_nothing_that_is_there(self) -> None:
        assert self.arrivals.ready == (bool(self.waiting) or self.closed or self.failed)


class PaceMachine(RuleBasedStateMachine):
    """Deliveries are counted: at rest nothing is busy, and under load all is, a window later."""

    def __init__(self, kind: type[Pace] = Pace) -> None:
        super().__init__()
        self.pace = kind()
        self.now = 100.0
        self.taken: list[tuple[float, int]] = []
        """When, and how many."""

    @rule(taken=st.integers(0, 60), seconds=st.sampled_from([0.0, 0.01, WINDOW_SECONDS / 2, WINDOW_SECONDS, 3.0]))
    def count(self, taken: int, seconds: float) -> None:
        self.now += seconds
        self.taken.append((self.now, taken))
        self.pace.count(taken, self.now)
        if self.pace.is_busy(self.now):
            assert self._lately(2 * 3.0) >= BUSY_RATE * WINDOW_SECONDS, "at rest it only costs time"

    @rule()
    def load(self) -> None:
        """For some windows on end."""
        for _ in range(20):
            self.count(int(BUSY_RATE * WINDOW_SECONDS) + 1, WINDOW_SECONDS / 2)
        assert self.pace.is_busy(self.now)

    @rule()
    def rest(self) -> None:
        for _ in range(3):
            self.count(0, WINDOW_SECONDS)
        assert not self.pace.is_busy(self.now)

    def _lately(self, seconds: float) -> int:
        return sum(count for at, count in self.taken if at >= self.now - seconds)


class ReadingMachine(RuleBasedStateMachine):
    """A log is read over one channel after another, each of which counts its deliveries from 1."""

    def __init__(self, kind: type[LogPlace] = LogPlace) -> None:
        super().__init__()
        self.place = kind()
        self.offset = 0
        self.out: dict[int, int] = {}
        self.tag = 0
        self.read_any = False

    @rule(count=st.integers(1, 5))
    def read(self, count: int) -> None:
        self.read_any = True
        for _ in range(count):
            self.tag += 1
            self.out[self.tag] = self.offset
            self.place.handed(self.tag, Wire(b"", {OFFSET: self.offset}))
            self.offset += 1

    @rule(data=st.data())
    @precondition(lambda self: self.out)
    def settle(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.out)))
        del self.out[tag]
        self.place.settled(tag)

    @rule()
    def lose(self) -> None:
        expected = min(self.out.values(), default=self.offset)
        assert self.place.resume() == (expected if self.read_any else None)
        self.offset, self.out, self.tag = expected, {}, 0
