"""A simulated Redis: one keyspace, its connections, and what goes wrong with them."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from choros_verify.simulation.broker_latency import Network
from choros_verify.simulation.faults import Faults
from choros_verify.simulation.processes import EPOCH
from choros_verify.simulation.redis.keyspace import Keyspace

MOST_PAST = 8
"""Writes that a `lose` can take back at most."""
OnAnswer = Callable[[Any], None]
Witness = Callable[[str, Sequence[str]], OnAnswer | None]
"""Called with the process and the arguments of a script that is about to run; what it returns, with what came of it."""


class RedisLink(Protocol):
    """The server's end of a connection."""

    demoted: bool
    """Whether the server behind it is no primary any more."""

    def work(self) -> None:
        """Do what waits."""

    def end(self) -> None:
        """Close the connection."""


class SimRedis:
    """One primary, and whoever takes its place."""

    def __init__(self, network: Network, faults: Faults, time: Callable[[], float], *, loses: bool = False) -> None:
        """`loses`: whether it is ever to forget what it acknowledged."""
        self.keys = Keyspace(lambda: EPOCH + time())
        self.faults = faults
        self.witnesses: list[tuple[str, Witness]] = []
        """Each with the hash of the script that it looks at."""
        self.scripts: set[str] = set()
        """Hashes of those that it knows."""
        self.founding: set[str] = set()
        """Keys that are written once in a store's life, before any saga: they are not lost."""
        self.paused = self.loading = False
        self._behind = False
        """Whether the address still leads to a primary that was."""
        self._network = network
        self._links: dict[RedisLink, None] = {}
        self._past: deque[Keyspace] = deque(maxlen=MOST_PAST)
        self._loses = loses

    def join(self, link: RedisLink) -> None:
        """Somebody has connected."""
        link.demoted = self._behind
        self._links[link] = None

    def leave(self, link: RedisLink) -> None:
        """It is over, and nothing that it asked for waits."""
        self._links.pop(link, None)

    def remember(self) -> None:
        """Something is about to be written."""
        if self._loses:
            self._past.append(self.keys.copied())

    def seeing(self, process: str, sha: str, given: Sequence[str]) -> list[OnAnswer]:
        """Whoever is to hear what comes of this script."""
        seen = [witness(process, given) for wanted, witness in self.witnesses if wanted == sha]
        return [one for one in seen if one is not None]

    # --- what strikes it ---

    def pause(self, seconds: float) -> None:
        """It stands still, as while its disk does: what comes meanwhile is done afterwards, whoever waits for it."""
        self.paused = True
        self._network.later(seconds, self._go_on)

    def strike(self, kinds: Mapping[str, float]) -> None:
        """What goes wrong with it before a command is done."""
        if "readonly" in kinds:
            self._fail_over(kinds["readonly"])
        if "oom" in kinds:
            self.keys.full = True
            self._network.later(kinds["oom"], partial(setattr, self.keys, "full", False))
        if "noscript" in kinds:
            self.scripts.clear()
        if "loading" in kinds:
            self.loading = True
            self._network.later(kinds["loading"], partial(setattr, self, "loading", False))
            self._start_anew()

    def _fail_over(self, seconds: float) -> None:
        """Another one is the primary, and the connections that there are lead to a replica; so do new ones for a
        while."""
        self.scripts.clear()
        self._behind = True
        self._network.later(seconds, partial(setattr, self, "_behind", False))
        for link in self._links:
            link.demoted = True

    def lose(self, writes: int) -> None:
        """It is back without what it did last, as one that syncs every second; all connections are over."""
        lost = [self._past.pop() for _ in range(min(writes, len(self._past)))]
        if lost:
            self.keys.take_from(lost[-1], self.founding)
        self._start_anew()

    def _start_anew(self) -> None:
        self.scripts.clear()
        for link in list(self._links):
            link.end()

    def _go_on(self) -> None:
        self.paused = False
        for link in list(self._links):
            link.work()
