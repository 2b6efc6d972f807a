"""How long things take between a simulated process and the simulated broker, and a one-way road that keeps order."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Span = tuple[float, float]
"""At least and at most so many seconds."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds, each drawn anew between the two."""

    publish: Span = (0.0005, 0.004)
    """From the process to the broker."""
    confirm: Span = (0.0005, 0.006)
    """Until the broker's answer is back; it has written the message to disk by then."""
    delivery: Span = (0.0005, 0.004)
    settle: Span = (0.0005, 0.004)
    """For an acknowledgement to reach the broker."""
    call: Span = (0.001, 0.006)
    """For a question and its answer: connect, declare, consume."""
    bytes: Span = (0.0003, 0.003)
    """For bytes on a pipe to reach the other end."""
    reconnect: Span = (0.05, 1.5)
    """Until a lost connection is tried again."""
    resubscribe: Span = (0.05, 0.5)
    """Until a lost channel or consumer is opened again."""


class Network:
    """Chance and time between the processes and the broker.

    Its callbacks run in the context that it was made in, never in that of the process which caused them: a process
    that crashes or stands still does not take the network with it.
    """

    def __init__(self, chance: Random, latency: Latency) -> None:
        self.latency = latency
        self._chance = chance
        self._context: Context = copy_context()

    @property
    def now(self) -> float:
        """Seconds by the loop's clock."""
        return asyncio.get_running_loop().time()

    def seconds(self, span: Span) -> float:
        """So long it takes this time."""
        return span[0] + (span[1] - span[0]) * self._chance.random()

    def coin(self) -> bool:
        """Yes or no."""
        return self._chance.random() < 0.5

    def how_many(self, most: int) -> int:
        """Any number from 0 to `most`."""
        return self._chance.randint(0, most)

    def chance(self) -> float:
        """Any number from 0 to 1."""
        return self._chance.random()

    def within(self, act: Callable[[], T]) -> T:
        """Do this as the network does whatever it does, though a process asks for it."""
        return self._context.copy().run(act)

    def later(self, seconds: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        """Do this after so many seconds."""
        return asyncio.get_running_loop().call_later(seconds, act, context=self._context)

    def at(self, moment: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        """Do this at that moment of the loop's clock."""
        return asyncio.get_running_loop().call_at(moment, act, context=self._context)


Load = TypeVar("Load", bound=tuple[Any, ...])
"""Something under way: first the moment when it arrives, then what it is."""


class Carriage(ABC, Generic[Load]):
    """Carries one way: each takes a while, none overtakes another, and what sets out together arrives together."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._under_way: deque[Load] = deque()
        self._last_departure = self._last_arrival = -1.0
        self._handle: asyncio.TimerHandle | None = None
        self._shut = False

    def shut(self) -> None:
        """Let nothing arrive until it is opened; what is under way waits at the end of the road."""
        self._shut = True
        self._forget_handle()

    def open(self) -> None:
        """Let things arrive again."""
        self._shut = False
        self._expect()

    def _arrival(self, span: Span) -> float:
        """When what sets out now arrives."""
        now = self._network.now
        if now != self._last_departure or not self._under_way:
            self._last_arrival = max(self._last_arrival, now + self._network.seconds(span))
            self._last_departure = now
        return self._last_arrival

    def _expect(self) -> None:
        if self._handle is None and self._under_way and not self._shut:
            self._handle = self._network.at(self._under_way[0][0], self._arrivals)

    def _arrivals(self) -> None:
        """The first of them is due."""
        self._handle = None
        self._arrive_due()
        self._expect()

    @abstractmethod
    def _arrive_due(self) -> None:
        """Hand over what has arrived."""

    def _empty(self) -> list[Load]:
        """Nothing is under way any more; what was."""
        left = list(self._under_way)
        self._under_way.clear()
        self._forget_handle()
        return left

    def _forget_handle(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Road(Carriage[tuple[float, T]], Generic[T]):
    """Carries things."""

    def __init__(self, network: Network, span: Span, arrive: Callable[[T], None]) -> None:
        super().__init__(network)
        self._span, self._arrive = span, arrive

    def send(self, thing: T) -> None:
        """Let it set out now."""
        self._under_way.append((self._arrival(self._span), thing))
        self._expect()

    def cut(self, arriving: int = 0) -> list[T]:
        """Lose what is under way, except for the first few, which arrive now; returns what is lost."""
        things = [thing for _, thing in self._empty()]
        self._shut = False
        self._last_departure = -1.0
        for thing in things[:arriving]:
            self._arrive(thing)
        return things[arriving:]

    def __len__(self) -> int:
        return len(self._under_way)

    def _arrive_due(self) -> None:
        moment = self._under_way[0][0]
        while self._under_way and self._under_way[0][0] <= moment and not self._shut:
            self._arrive(self._under_way.popleft()[1])


class NoRoad(Generic[T]):
    """Carries things to where somebody else's road begins: each is there at once."""

    def __init__(self, arrive: Callable[[T], None]) -> None:
        self.send = arrive

    def cut(self) -> None:
        """There is never anything under way."""
