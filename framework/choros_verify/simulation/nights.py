"""Nights: while nothing happens but that sagas sleep, all clocks are put forward. So months take no steps.

It is as if every machine had been suspended together: what waits by the loop's time waits on, what is due by the clock
is due. Whatever lies less than five minutes ahead comes as everything else does.
"""

from collections.abc import Callable, Iterable

from choros.app.app import App
from choros.saga.waiting import SignalWait, Sleeping
from choros.store.sagas import Record
from choros_verify.simulation.evidence import settled
from choros_verify.simulation.processes import EPOCH

LONG = 300.0
"""Seconds: a sleep is no night that is shorter."""
BEFORE = 30.0
"""Seconds before the first saga wakes: by a clock that is wrong, or by one that is right."""


class Nights:
    """How far the clocks of a world are ahead of its loop."""

    def __init__(self, time: Callable[[], float], app: App) -> None:
        self._time = time
        self._passed = 0.0
        leaves = (leaf for saga in app.sagas.values() for leaf in saga.outline.leaves.values())
        self.come: bool = any(isinstance(leaf, Sleeping | SignalWait) for leaf in leaves)
        """Whether there is a saga that may sleep."""

    def time(self) -> float:
        """Seconds since the world began, by a clock that is right."""
        return self._time() + self._passed

    def pass_by(self, records: Iterable[Record]) -> None:
        """Put the clocks forward to shortly before the first of these sagas wakes, if all that go on are asleep."""
        wake = [record.wake_at for record in records if not settled(record)]
        ahead = min((at or 0.0 for at in wake), default=0.0) - EPOCH - self.time()
        if ahead > LONG:
            self._passed += ahead - BEFORE
