"""The timers in the hands of this process: claimed in the store, fired, and given back where nothing came of them.

What one has claimed no other orchestrator is handed, so that any number of them share the work; a commit sets the timer
anew, which ends the claim, and a crash costs its length. Safety is still the compare-and-set alone.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Collection, Sequence

from choros.errors import StoreUnreachable
from choros.store.sagas import KnownKinds, PutOff, Store

CLAIM_SECONDS = 5.0
"""What a crash costs the timers that were claimed; and whoever needs longer for what he has claimed meets others."""
IN_HAND = 500
"""Timers that are claimed at once at most: some tenths of a second of work."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds for which a timer is put off whose decision fails: as long as that has been so."""
STRANGE_FOR = 60.0
"""Seconds for which timers are passed over that only another process can decide."""
MOST_STRANGE = 1000
"""How many are passed over at most; beyond, they are put off like those that fail."""
NOT_BEFORE = 0.02
"""Seconds between two looks at least."""
SOON = 2.0
"""Seconds: what is further away, nobody has to be woken for to the moment."""
_GRAIN = 0.01


class Timers:
    """Claims what is due as fast as it is decided. `fire` hands the ids to whoever decides."""

    def __init__(self, store: Store, fire: Callable[[Sequence[str]], None]) -> None:
        self._store = store
        self._fire = fire
        self._claims: dict[str, float] = {}
        self._failing: dict[str, tuple[float, float]] = {}
        """Since when, and when last; in the order of the latter."""
        self._strange: dict[str, float] = {}
        """Until when they are passed over."""
        self._given_back: list[PutOff] = []
        self._more = False
        self._bell = Bell()

    @property
    def strange(self) -> int:
        """How many due sagas are passed over here, for another process to decide."""
        return len(self._strange)

    @property
    def failing(self) -> Collection[str]:
        """Those that are due, and whose decision failed last."""
        return self._failing.keys()

    @property
    def noticed(self) -> Sequence[str]:
        """A sentence where there are such: nothing but the log names them."""
        failing = len(self._failing)
        return [f"Sagas that are due and cannot be decided: {failing}. The log names them."] if failing else ()

    async def run(self, known: KnownKinds, every: float) -> None:
        """Look for what is due until cancelled: now and then, when the next is due, and when more can be taken."""
        wait = every
        while True:
            await self._bell.wait(wait)
            wait = every
            with contextlib.suppress(StoreUnreachable):  # whoever decides says so, and this comes round again
                wait = min(every, max(NOT_BEFORE, await self.look(known)))

    async def look(self, known: KnownKinds) -> float:
        """Claim what is due, as much as there is room for; says in how many seconds the next one is."""
        self._forget_the_past()
        now, room = self._store.now(), IN_HAND - len(self._claims)
        found: Sequence[str] = ()
        if room:
            until = now + CLAIM_SECONDS
            found = await self._store.due(now, known, room, claim_until=until, passing_over=self._strange.keys())
            fresh = [saga_id for saga_id in found if saga_id not in self._claims]  # a claim may have run out
            self._claims.update(dict.fromkeys(found, until))
            self._fire(fresh)
        self._more = len(found) == room
        following = None if self._more else await self._store.next_due(known)
        return following - now if following is not None and following > now else float("inf")

    def _forget_the_past(self) -> None:
        now = asyncio.get_running_loop().time()
        self._strange = {saga_id: until for saga_id, until in self._strange.items() if until > now}
        while self._failing and (first := next(iter(self._failing))):
            if self._failing[first][1] + 2 * LONGEST_PAUSE > now:
                break
            del self._failing[first]

    def expect(self, seconds: float) -> None:
        """A timer was set that fires so soon: look then, and not only when it is time to look again."""
        self._bell.ring_in(seconds)

    # --- what came of it ---

    def committed(self, saga_id: str) -> None:
        """Its timer was set anew with that."""
        self._failing.pop(saga_id, None)
        self._strange.pop(saga_id, None)
        self._let_go(saga_id)

    def failed(self, saga_id: str) -> None:
        """Nothing can be decided for it now. It must not keep its place before all the others."""
        if saga_id in self._claims:
            now = asyncio.get_running_loop().time()
            since, _ = self._failing.pop(saga_id, (now, now))
            self._failing[saga_id] = since, now
            self._give_back(saga_id, self._store.now() + min(max(now - since, FIRST_PAUSE), LONGEST_PAUSE))

    def belongs_elsewhere(self, saga_id: str) -> None:
        """Another process can decide it: it stays due for that, behind those that are due by now."""
        if len(self._strange) >= MOST_STRANGE:
            self.failed(saga_id)
        elif saga_id in self._claims:
            self._strange[saga_id] = asyncio.get_running_loop().time() + STRANGE_FOR
            self._give_back(saga_id, self._store.now())

    def moved_nothing(self, saga_id: str, wake_at: float | None) -> None:
        """It was not due, after all, or is no more; by its own state it is at that moment."""
        if wake_at is None or wake_at <= self._store.now():
            self.failed(saga_id)
        elif saga_id in self._claims:
            self._give_back(saga_id, wake_at)

    def _give_back(self, saga_id: str, until: float) -> None:
        self._given_back.append(PutOff(saga_id, self._claims[saga_id], until))
        self._let_go(saga_id)

    def _let_go(self, saga_id: str) -> None:
        self._claims.pop(saga_id, None)
        if self._more and len(self._claims) <= IN_HAND // 2:
            self._bell.ring()

    async def give_back(self) -> None:
        """Tell the store; where it does not hear, claims end by themselves."""
        given_back, self._given_back = self._given_back, []
        if given_back:
            with contextlib.suppress(StoreUnreachable):
                await self._store.put_off(given_back)


class Bell:
    """Rung at once or at a moment, it wakes whoever waits for it."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._moments: set[int] = set()

    def ring(self) -> None:
        """Now."""
        self._rung.set()

    def ring_in(self, seconds: float) -> None:
        """Soon, to a hundredth of a second; many at the same moment cost what one does."""
        loop = asyncio.get_running_loop()
        moment = math.ceil((loop.time() + seconds) / _GRAIN)
        if seconds < SOON and moment not in self._moments:
            self._moments.add(moment)
            loop.call_at(moment * _GRAIN, self._strike, moment)

    def _strike(self, moment: int) -> None:
        self._moments.discard(moment)
        self._rung.set()

    async def wait(self, at_most: float) -> None:
        """Until it rings, or for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                await self._rung.wait()
        self._rung.clear()
