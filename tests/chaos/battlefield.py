"""Where the broker and the store are, and how to hurt them. The rest of the package knows no other way to them.

A cluster takes the place of `Single` by offering the same: see `Battlefield`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import aio_pika

from tests.chaos.rooms import Room
from tests.private_postgresql import PrivatePostgreSQL, children_of
from tests.private_servers import PrivateRabbitMQ, PrivateRedis, PrivateServer, find_program

Address = tuple[str, int]
STORE, POSTGRES = "redis", "postgres"
_LOOKS = 10


class Battlefield(Protocol):
    """Servers by name: the broker's nodes, the store, whose name is `STORE`, and where there is one, `POSTGRES`, in
    which the sagas are then.

    Everything blocks for seconds, so whoever calls `start`, `kill` or `ctl` from an event loop uses `in_thread`.
    """

    folder: Path
    rooms: Mapping[str, Room]
    """Small file systems by the name of the server whose files they hold; empty where none can be mounted."""

    @property
    def nodes(self) -> Sequence[str]:
        """Names of the broker's nodes."""
        ...

    @property
    def stores(self) -> Sequence[str]:
        """Names of the other servers."""
        ...

    @property
    def sagas(self) -> str:
        """The name of the server that has the sagas."""
        ...

    def address(self, server: str) -> Address:
        """Where a server listens; the same for its whole life."""
        ...

    def open(self) -> None:
        """Start everything and wait until it answers."""
        ...

    def close(self) -> None:
        """End everything; the files stay."""
        ...

    def start(self, server: str) -> None:
        """Start a server that is down and wait until it answers; nothing happens to one that is up."""
        ...

    def kill(self, server: str) -> None:
        """kill -9."""
        ...

    def pause(self, server: str) -> None:
        """SIGSTOP: from outside it looks half-open."""
        ...

    def resume(self, server: str) -> None:
        """SIGCONT."""
        ...

    def ctl(self, node: str, *arguments: str) -> str:
        """What `rabbitmqctl` prints."""
        ...

    def redis(self, *command: str) -> str:
        """What `redis-cli` prints."""
        ...

    def empty(self) -> None:
        """Take everything away from the broker, queues, exchanges and messages, and start it again."""
        ...

    def delete(self, queue: str) -> None:
        """Delete one queue with all that is in it."""
        ...

    def delete_given_up(self, node: str) -> list[str]:
        """What an operator does after a full disk: a quorum queue that was declared while it was full has an empty
        Raft configuration there, and RabbitMQ never starts it again; returns those that it deleted."""
        ...

    def depths(self) -> Mapping[str, int]:
        """Messages by queue, ready and unacknowledged."""
        ...

    def versions(self) -> Mapping[str, str]:
        """Of RabbitMQ, Erlang and Redis."""
        ...


class Single:
    """One RabbitMQ node and one Redis with its file synced at every write; and, if asked for, a PostgreSQL."""

    def __init__(self, folder: Path, rooms: Mapping[str, Room], *, postgres: bool = False) -> None:
        """Choose the ports; nothing is started yet."""
        self.folder, self.rooms = folder, rooms
        self.broker = PrivateRabbitMQ(rooms["rabbit"].path if "rabbit" in rooms else folder / "rabbit")
        self.store = PrivateRedis(rooms[STORE].path if STORE in rooms else folder / STORE)
        self._servers: dict[str, PrivateServer] = {"rabbit": self.broker, STORE: self.store}
        self._ports = {"rabbit": self.broker.port, STORE: self.store.port}
        if postgres:
            third = PrivatePostgreSQL(rooms[POSTGRES].path / "of" if POSTGRES in rooms else folder / POSTGRES)
            self._servers[POSTGRES], self._ports[POSTGRES] = third, third.port

    @property
    def nodes(self) -> Sequence[str]:
        return ("rabbit",)

    @property
    def stores(self) -> Sequence[str]:
        return [name for name in self._servers if name not in self.nodes]

    @property
    def sagas(self) -> str:
        return self.stores[-1]

    def address(self, server: str) -> Address:
        return ("127.0.0.1", self._ports[server])

    def open(self) -> None:
        for server in self._servers.values():
            server.start()

    def close(self) -> None:
        for name, server in self._servers.items():
            if server.process is not None:
                self.resume(name)
            server.stop()

    def start(self, server: str) -> None:
        if not self._servers[server].running:
            self._servers[server].kill()  # collects what ended by itself
            self._servers[server].start()

    def kill(self, server: str) -> None:
        self._servers[server].kill()

    def pause(self, server: str) -> None:
        self._signal(server, signal.SIGSTOP)

    def resume(self, server: str) -> None:
        self._signal(server, signal.SIGCONT)

    def _signal(self, server: str, number: signal.Signals) -> None:
        pid = self._servers[server].pid
        os.kill(pid, number)
        for forked in children_of(pid) if server == POSTGRES else ():  # each connection is with a process of its own
            with suppress(ProcessLookupError):
                os.kill(forked, number)

    def ctl(self, node: str, *arguments: str) -> str:
        return self.broker.ctl(*arguments)

    def redis(self, *command: str) -> str:
        return redis_cli(self.store.port, *command)

    def empty(self) -> None:
        self.broker.kill()
        subprocess.run(["rm", "-rf", str(self.broker.folder / "data")], check=True)
        self.broker.start()

    def delete(self, queue: str) -> None:
        delete_queue(self.broker.url, queue)

    def delete_given_up(self, node: str) -> list[str]:
        down: list[str] = []
        for _ in range(_LOOKS):  # one that has no leader yet is down as well
            down = queues_down(self.broker.ctl("--formatter", "json", "list_queues", "name", "state"))
            if not down:
                return []
            time.sleep(1)
        for queue in down:
            self.delete(queue)
        return down

    def depths(self) -> Mapping[str, int]:
        return depths_of(self.broker.ctl("--formatter", "json", "list_queues", "name", "messages"))

    def versions(self) -> Mapping[str, str]:
        found = versions_of(self.broker, self.store)
        if POSTGRES in self._servers:
            found[POSTGRES] = (self._servers[POSTGRES].folder / "data" / "PG_VERSION").read_text().strip()
        return found


def redis_cli(port: int, *command: str) -> str:
    """Ask Redis on this port of loopback."""
    program = [str(find_program("redis-cli")), "-p", str(port), *command]
    return subprocess.run(program, check=True, capture_output=True, text=True, timeout=30).stdout


def delete_queue(url: str, queue: str) -> None:
    """Over AMQP, which is much quicker than `rabbitmqctl`; call it in a thread."""

    async def delete() -> None:
        async with await aio_pika.connect(url, timeout=10) as connection, connection.channel() as channel:
            await channel.queue_delete(queue)

    asyncio.run(delete())


def depths_of(listing: str) -> dict[str, int]:
    """The answer of `list_queues name messages` as JSON."""
    return {str(row["name"]): int(row["messages"] or 0) for row in json.loads(listing or "[]")}


def queues_down(listing: str) -> list[str]:
    """In the answer of `list_queues name state` as JSON: those without a Raft process."""
    return [str(row["name"]) for row in json.loads(listing or "[]") if row["state"] == "down"]


def versions_of(broker: PrivateRabbitMQ, store: PrivateRedis) -> dict[str, str]:
    """What runs here."""
    erlang = broker.ctl("eval", "erlang:system_info(otp_release).").strip().strip('"')
    facts = dict(line.split(":", 1) for line in redis_cli(store.port, "INFO", "server").splitlines() if ":" in line)
    rabbit = broker.ctl("version").strip()
    return {"rabbitmq": rabbit, "erlang": erlang, "redis": facts["redis_version"].strip()}


def url_of(server: str, host: str, port: int) -> str:
    """Its address, as choros takes it."""
    return f"postgresql://choros@{host}:{port}/postgres" if server == POSTGRES else f"redis://{host}:{port}/0"


async def in_thread(act: Callable[..., object], *arguments: str) -> str:
    """Call something that blocks."""
    return str(await asyncio.to_thread(act, *arguments))


__all__ = ["POSTGRES", "STORE", "Address", "Battlefield", "Single", "in_thread", "url_of"]
