"""The handlers of one role that are at work: how many at a time, for how long, and which of them hangs."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from choros.app.around import Around, GoOn, surrounded
from choros.app.handler import Call, Handler
from choros.app.hearing import Rate
from choros.app.outbox import Outbox
from choros.app.resources import NO_RESOURCES, Resources
from choros.app.settings import NOTHING_SET, Settings
from choros.errors import ChorosError, Refused
from choros.messages import Message
from choros.runtime.host.call import apart
from choros.runtime.host.threads import Threads
from choros.sources import now
from choros.store.barrier import Transaction
from choros.telemetry.context import about, speaking_of
from choros.telemetry.logs import get_logger
from choros.wire.envelope import Envelope
from choros.wire.own_headers import read

log = get_logger(__name__)

TRANSACTION_SECONDS = 60.0
"""How long a call with a transaction may take where nothing is set: meanwhile others may wait for its database."""
HANGS_AFTER = 30.0
"""Seconds after which a call is named, in the log and to whoever asks how the process is."""
HOLDS_AFTER = 1.0
"""Seconds after which a transaction counts as what its database waits for."""
LOOK_EVERY = 5.0


class StillAtWork(ChorosError):
    """An earlier call was cut off and has not ended: until it has, nothing that it could disturb is begun."""

    says_all = True


@dataclass(frozen=True, slots=True)
class Hanging:
    """A call that takes long, or was cut off and has not ended."""

    handler: str
    key: str
    since: float
    """When it began, in seconds since the epoch."""
    left_behind: bool = False
    """Whether it was cancelled and goes on."""


@dataclass(slots=True, eq=False)
class _Running:
    handler: Handler
    envelopes: Sequence[Envelope]
    began: float
    named: bool = False

    @property
    def keys(self) -> Sequence[str]:
        return [one.key or one.id for one in self.envelopes]

    @property
    def key(self) -> str:
        first, more = self.keys[0], len(self.envelopes) - 1
        return f"{first} and {more} more" if more else first

    def __str__(self) -> str:
        return f"{self.handler.name} on {self.key}"


class Moments:
    """When a handler with a rate may be called: each moment is given away once."""

    def __init__(self, rate: Rate) -> None:
        self._span = rate.per.total_seconds()
        self._given: deque[float] = deque(maxlen=rate.most)

    async def next(self) -> None:
        """Wait for it."""
        now, given = asyncio.get_running_loop().time(), self._given
        at = max(now, given[0] + self._span) if len(given) == given.maxlen else now
        given.append(at)
        if at > now:
            await asyncio.sleep(at - now)


@dataclass(slots=True, eq=False)
class _Limits:
    seconds: float
    places: asyncio.Semaphore | None
    turns: Moments | None
    left_behind: int


class Calls:
    """Runs the handlers of one role."""

    def __init__(
        self, settings: Settings = NOTHING_SET, resources: Resources = NO_RESOURCES, around: Sequence[Around] = ()
    ) -> None:
        self._settings, self._resources, self._around = settings, resources, around
        self._places = asyncio.Semaphore(settings.number("concurrency"))
        self._threads = Threads(settings.number("threads"))
        self._limits: dict[str, _Limits] = {}
        self._running: set[_Running] = set()
        self._left: set[_Running] = set()
        self._cut_off: deque[_Running] = deque(maxlen=100)
        self.meter: Callable[[str, float, str], None] | None = None
        """Told of each call that ends, its seconds and its outcome, where somebody counts."""

    # --- places ---

    def place(self, handler: Handler | None) -> AbstractAsyncContextManager[None]:
        """A place at work, and one of this handler where it has a limit, when it is its turn, and a thread where it
        needs one: waited for, and given to the next."""
        if handler is None:
            return self._places
        limits, thread = self._of(handler), None if handler.blocking is None else self._threads.places
        if limits.places is None and limits.turns is None and thread is None:
            return self._places
        return _all_of(limits, thread, self._places)

    def _of(self, handler: Handler) -> _Limits:
        name = handler.does
        if name not in self._limits:
            most = handler.settings.concurrency
            settings = handler.settings.over(self._settings)
            seconds = settings.seconds("handler_time")
            if settings.handler_time is None and handler.transaction is not None:
                seconds = TRANSACTION_SECONDS
            places = None if most is None else asyncio.Semaphore(most)
            turns = Moments(handler.rate) if handler.rate else None
            self._limits[name] = _Limits(seconds, places, turns, settings.number("concurrency"))
        return self._limits[name]

    # --- calls ---

    async def call(
        self,
        handler: Handler,
        envelope: Envelope,
        message: Message | Sequence[Message],
        transaction: Transaction | None,
        token: str = "",
        outbox: Outbox | None = None,
        stands: bool = True,
    ) -> Any:
        """What the handler returns; raises what it raises, as an Exception, and TimeoutError if it takes too long."""
        with speaking_of(envelope):  # everything that it logs carries the ids of its message
            call = _call_of(envelope, token, stands)
            return await self._run(handler, [envelope], self._work(handler, message, transaction, call, outbox))

    async def call_with_all(
        self,
        handler: Handler,
        envelopes: Sequence[Envelope],
        messages: Sequence[Message],
        transaction: Transaction | None,
    ) -> None:
        """The same with several messages at once."""
        call = _call_of(envelopes[0], "")
        await self._run(handler, envelopes, self._work(handler, messages, transaction, call))

    def _work(
        self, handler: Handler, message: Any, transaction: Transaction | None, call: Call, outbox: Outbox | None = None
    ) -> GoOn:
        """The call of a handler, with what it needs, and what is around it."""
        work: GoOn = partial(handler, message, transaction, call, outbox, self._resources, self._threads.run)
        return surrounded(self._around, message, call, work) if self._around else work

    async def _run(self, handler: Handler, envelopes: Sequence[Envelope], work: Callable[[], Awaitable[Any]]) -> Any:
        limits, one = self._of(handler), _Running(handler, envelopes, asyncio.get_running_loop().time())
        self._check_left(one, limits.left_behind)
        self._running.add(one)
        outcome = "failed"
        try:
            made = await apart(work, limits.seconds, partial(self._leave_behind, one))
            outcome = "ok"
            return made
        except Refused:
            outcome = "refused"
            raise
        except TimeoutError:
            if _age(one) >= limits.seconds:
                log.error("choros.handler.out_of_time", **_about(one))
            raise
        except asyncio.CancelledError:  # the role stops, and has waited for as long as it may
            self._cut_off.append(one)
            log.warning("choros.handler.cut_off", **_about(one))
            raise
        finally:
            self._running.discard(one)
            if self.meter is not None:
                self.meter(handler.name, _age(one), outcome)

    def _check_left(self, one: _Running, most: int) -> None:
        """What goes on could have its effect at any moment, so nothing is begun beside it under its key; and calls that
        cannot be stopped are not heaped up without end."""
        same = [left for left in self._left if left.handler.message is one.handler.message]
        if any(not set(left.keys).isdisjoint(one.keys) for left in same) or len(same) >= most:
            raise StillAtWork(
                f"A call of {one.handler.name} was cut off and has not ended.",
                "let what it awaits be cancelled, or restart the process.",
            )

    def _leave_behind(self, one: _Running, task: asyncio.Task[Any]) -> None:
        log.error("choros.handler.left_behind", **_about(one))
        self._left.add(one)
        task.add_done_callback(partial(self._has_ended, one))

    def _has_ended(self, one: _Running, task: asyncio.Task[Any]) -> None:
        self._left.discard(one)
        if not task.cancelled():
            task.exception()
        log.warning("choros.handler.ended_late", **_about(one))

    # --- who asks ---

    @property
    def hold(self) -> bool:
        """Whether a handler has had a transaction open for longer than a moment: its database may wait for that."""
        return any(one.handler.transaction is not None and _age(one) >= HOLDS_AFTER for one in self._running)

    @property
    def hanging(self) -> Sequence[Hanging]:
        """Calls that take long, and those that were cut off and go on."""
        slow = [(one, False) for one in self._running if one not in self._left and _age(one) >= HANGS_AFTER]
        found = sorted([*slow, *((one, True) for one in self._left)], key=lambda pair: pair[0].began)
        return [Hanging(one.handler.name, one.key, now() - _age(one), left) for one, left in found]

    @property
    def unfinished(self) -> Sequence[str]:
        """Calls that are at work, and those that were cut off: what one of them has left in a thread may go on."""
        return [str(one) for one in dict.fromkeys([*self._running, *self._left, *self._cut_off])]

    async def keep_watching(self) -> None:
        """Name each call that takes long, once, in the log."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for one in [one for one in self._running if not one.named and _age(one) >= HANGS_AFTER]:
                one.named = True
                log.warning("choros.handler.hangs", **_about(one))


@asynccontextmanager
async def _all_of(limits: _Limits, thread: asyncio.Semaphore | None, places: asyncio.Semaphore) -> AsyncIterator[None]:
    """What waits for its turn takes no place that another handler could have."""
    async with limits.places or nullcontext():
        if limits.turns is not None:
            await limits.turns.next()
        async with thread or nullcontext(), places:
            yield


def _age(one: _Running) -> float:
    return asyncio.get_running_loop().time() - one.began


def _about(one: _Running) -> dict[str, Any]:
    return about(one.envelopes[0]) | {"handler": one.handler.name, "key": one.key, "seconds": round(_age(one), 1)}


def _call_of(envelope: Envelope, token: str, stands: bool = True) -> Call:
    """What a handler may know about its call besides the message."""
    return Call(
        key=envelope.key,
        correlation_id=envelope.correlation_id,
        saga=envelope.saga,
        step=envelope.step,
        attempt=envelope.attempt,
        not_after=envelope.not_after,
        token=token,
        stands=stands,
        message_id=envelope.id,
        traceparent=envelope.traceparent,
        headers=read(envelope.own_headers),
    )
