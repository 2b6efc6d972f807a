"""The processes of choros and the load, each with links of its own to the broker and the store, started again whenever
they end, as any init system does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import outings
from tests.chaos.administrator import Administrator
from tests.chaos.battlefield import STORE, Battlefield, url_of
from tests.chaos.wire import Wire
from tests.private_servers import die_with_parent

ORCHESTRATORS = 5
RACING = ("orchestrator-4", "orchestrator-5")
"""Only there during a race of five."""
SERVICES = ("fares", "cabins", "harbour")
_AGAIN_SECONDS = 0.5
STOP_SECONDS = 60.0
"""Who has not ended by then after a SIGTERM hangs."""
LOAD = "load"


@dataclass(eq=False)
class Member:
    """One process, over all its lives."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    wanted: bool = True
    process: asyncio.subprocess.Process | None = None
    finishing: bool = False
    """Wanted until it ends by itself and well: it has a last thing to do."""
    hurt: bool = False
    """Something is being done to it; nobody else should."""

    @property
    def up(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.returncode is None

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; whether there was anybody to get it."""
        if not self.up or self.process is None:
            return False
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        return True


@dataclass
class Crew:
    """All of them."""

    folder: Path
    services: Path
    """Where the SQLite files are."""
    field_: Battlefield
    administrator: Administrator
    wire: Wire
    load: Sequence[str]
    """Arguments of the load."""
    flows: bool = False
    """Whether a flow that nobody orchestrates is beside the sagas."""
    members: dict[str, Member] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    """Ends that nobody ordered, by `name: exit code`."""
    ordered: set[str] = field(default_factory=set)
    _keeping: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def open(self) -> None:
        """Open every link, and start everybody who is wanted."""
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # inherited: a burst must not kill a load that is not ready yet
        for place, (name, command) in enumerate(self._commands().items()):
            self.members[name] = Member(name, command, await self._environment(name, place), name not in RACING)
        for member in self.members.values():
            self._keeping[member.name] = asyncio.create_task(self._keep(member))

    def _commands(self) -> dict[str, Sequence[str]]:
        run = (sys.executable, "-m", "choros", "run")
        roles: dict[str, Sequence[str]] = {
            f"orchestrator-{n}": (*run, "tests.chaos.voyages:app", "--role", "orchestrator")
            for n in range(1, ORCHESTRATORS + 1)
        }
        for name in (f"{service}-{n}" for service in SERVICES for n in (1, 2)):  # two replicas on one database
            service = name.partition("-")[0]
            roles[name] = (*run, f"tests.chaos.services:{service}", "--role", f"service:{service}")
        for subscriber in ("journal", "gazette"):
            roles[subscriber] = (*run, f"tests.chaos.services:{subscriber}", "--role", f"subscriber:{subscriber}")
        for name in outings.SERVICES if self.flows else ():
            roles[name] = (*run, outings.APP, "--role", f"subscriber:{name}")
        roles[LOAD] = (sys.executable, "-m", "tests.chaos.load", *self.load)
        return roles

    async def _environment(self, name: str, place: int) -> dict[str, str]:
        nodes = [self.field_.address(node) for node in self.field_.nodes]
        nodes = nodes[place % len(nodes) :] + nodes[: place % len(nodes)]  # each prefers another node
        links = [await self.wire.link(f"{name}.broker", [node]) for node in nodes]
        brokers = ",".join(f"127.0.0.1:{port}" for port in links)
        reached = {server: await self.wire.link(f"{name}.{server}", [self.field_.address(server)])
                   for server in self.field_.stores}  # fmt: skip
        urls = {server: url_of(server, "127.0.0.1", port) for server, port in reached.items()}
        redis, service = urls[STORE], name.partition("-")[0]
        user = self.administrator.user("client" if name == LOAD else service)
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("CHOROS_")},
            "PYTHONUNBUFFERED": "1",
            "CHOROS_BROKER": f"amqp://{user}@{brokers}/?heartbeat=5",
            "CHOROS_STORE": urls[self.field_.sagas],
            "CHOROS_DATABASE": redis
            if service in ("cabins", "gazette", "guides")
            else f"sqlite:///{self.services}/{service}.db",
            "CHAOS_FARES": f"sqlite:///{self.services}/fares.db",
            "CHAOS_PROVIDER": str(self.services / "provider.db"),
        }

    async def _keep(self, member: Member) -> None:
        """Start it, and start it again when it has ended."""
        while True:
            if member.wanted:
                await self._live(member)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _live(self, member: Member) -> None:
        command = member.command
        with (self.folder / "logs" / f"{member.name}.log").open("ab") as log:
            member.process = await asyncio.create_subprocess_exec(
                *command, env=member.environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent,
            )  # fmt: skip
        if not member.wanted or member.command is not command:  # told to end while it was being started
            member.signal(signal.SIGTERM)
        code = await member.process.wait()
        if member.finishing and code == 0:
            member.wanted = False
        elif member.name in self.ordered:
            self.ordered.discard(member.name)
        else:
            self.ended[f"{member.name}: {code}"] += 1

    def kill(self, name: str) -> bool:
        """kill -9; whether there was anybody."""
        if self.members[name].up:
            self.ordered.add(name)
        return self.members[name].signal(signal.SIGKILL)

    async def stop(self, name: str, seconds: float = STOP_SECONDS) -> float:
        """Ask it to end; returns how long that took. Killed past the limit."""
        member, began = self.members[name], time.monotonic()
        member.wanted = False
        self.ordered.add(name)
        member.signal(signal.SIGTERM)
        if member.process is not None:
            try:
                async with asyncio.timeout(seconds):
                    await member.process.wait()
            except TimeoutError:
                member.signal(signal.SIGKILL)
                await member.process.wait()
        return time.monotonic() - began

    async def finish(self, name: str, word: str) -> None:
        """End it, and let it live again, with `word` as its last argument, until it has ended well."""
        member = self.members[name]
        await self.stop(name)
        member.command = (*member.command, word)
        member.finishing = member.wanted = True

    async def close(self) -> dict[str, float]:
        """Stop everybody; returns how long each took."""
        names = [name for name, member in self.members.items() if member.up]
        seconds = await asyncio.gather(*(self.stop(name) for name in names))
        for keeping in self._keeping.values():
            keeping.cancel()
        await asyncio.gather(*self._keeping.values(), return_exceptions=True)
        return dict(zip(names, seconds, strict=True))
