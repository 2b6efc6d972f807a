"""What can go wrong, one function each: it hurts, waits, heals, and says what it did.

A small fault concerns one process or its connections; several may be under way. A big one concerns a server, or
everybody; one at a time. A battlefield with more to hurt (a cluster) adds its own to `BIG`.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from tests.chaos.administrator import Administrator
from tests.chaos.battlefield import POSTGRES, STORE, Battlefield, in_thread
from tests.chaos.crew import LOAD, RACING, Crew, Member
from tests.chaos.full_store import full_until_freed
from tests.chaos.wire import Wire


@dataclass(frozen=True)
class Thrown:
    """A stranger's message that the broker has taken: its name, which is its body, and the queues it went to."""

    name: str
    queues: tuple[str, ...]
    at: float


@dataclass
class Scene:
    """Everything that a fault may touch."""

    battlefield: Battlefield
    crew: Crew
    administrator: Administrator
    wire: Wire
    dice: random.Random
    pace: float = 1.0
    """Below 1, faults are shorter."""
    thrown: list[Thrown] = field(default_factory=list)
    """What strangers have sent: see `strangers`."""
    given_up: list[str] = field(default_factory=list)
    """Queues that the broker could not start again, and an operator had to delete."""

    def seconds(self, least: float, most: float) -> float:
        """Some time."""
        return self.dice.uniform(least, most) * self.pace

    async def lasting(self, least: float, most: float) -> float:
        """Let it last; returns how long."""
        seconds = self.seconds(least, most)
        await asyncio.sleep(seconds)
        return seconds

    def anybody(self) -> Member | None:
        """A process that is up and not being hurt."""
        free = [one for one in self.crew.members.values() if one.up and one.wanted and not one.hurt]
        weights = [0.3 if one.name == LOAD else 1.0 for one in free]  # without it there is little to see
        return self.dice.choices(free, weights)[0] if free else None


Fault = Callable[[Scene], Awaitable[str]]
"""Returns what it did, in a few words; an empty text if there was nothing to hurt, which then does not count."""


@asynccontextmanager
async def somebody(scene: Scene) -> AsyncIterator[Member | None]:
    """One whom nobody else hurts meanwhile."""
    member = scene.anybody()
    if member is None:
        yield None
        return
    member.hurt = True
    try:
        yield member
    finally:
        member.hurt = False


# --- small ones -------------------------------------------------------------------------------------------------------


async def kill(scene: Scene) -> str:
    async with somebody(scene) as member:
        if member is None or not scene.crew.kill(member.name):
            return ""
        await scene.lasting(0.5, 2)
        return member.name


async def cut(scene: Scene) -> str:
    async with somebody(scene) as member:
        if member is None:
            return ""
        links = f"{member.name}.{scene.dice.choice(['broker', *scene.battlefield.stores, '*'])}"
        connections = await scene.wire.cut(links)
        return f"{links}: {connections} connections" if connections else ""


async def pause(scene: Scene) -> str:
    async with somebody(scene) as member:
        if member is None or not member.signal(signal.SIGSTOP):
            return ""
        try:
            seconds = await scene.lasting(1, 20)
        finally:
            member.signal(signal.SIGCONT)
        return f"{member.name} for {seconds:.1f} s"


async def _one_link(scene: Scene, mood: str, least: float, most: float, **more: float) -> str:
    async with somebody(scene) as member:
        if member is None:
            return ""
        links = f"{member.name}.{scene.dice.choice(['broker', *scene.battlefield.stores])}"
        return await _mood(scene, links, mood, least, most, **more)


async def _mood(scene: Scene, links: str, mood: str, least: float, most: float, **more: float) -> str:
    await scene.wire.set(links, mood, **more)
    try:
        seconds = await scene.lasting(least, most)
    finally:
        await scene.wire.set(links, "pass")
    return f"{links} for {seconds:.1f} s"


async def half_open(scene: Scene) -> str:
    return await _one_link(scene, "hole", 2, 15)


async def stalled(scene: Scene) -> str:
    return await _one_link(scene, "stall", 1, 8)


async def answers_lost(scene: Scene) -> str:
    return await _one_link(scene, "deaf", 0.5, 3)


async def cut_within(scene: Scene) -> str:
    return await _one_link(scene, "drop", 1, 2, bytes=scene.dice.randrange(0, 20_000))


SMALL: dict[str, tuple[Fault, int]] = {
    "kill": (kill, 9),
    "cut": (cut, 7),
    "pause": (pause, 2),
    "half-open": (half_open, 2),
    "stalled": (stalled, 1),
    "answers lost": (answers_lost, 3),
    "cut in the middle": (cut_within, 3),
}
"""With how often each comes, relatively."""


# --- servers ----------------------------------------------------------------------------------------------------------


async def kill_broker(scene: Scene) -> str:
    node = scene.dice.choice(list(scene.battlefield.nodes))
    await in_thread(scene.battlefield.kill, node)
    await scene.lasting(0, 5)
    await in_thread(scene.battlefield.start, node)
    return node


async def kill_store(scene: Scene, server: str = STORE) -> str:
    await in_thread(scene.battlefield.kill, server)
    await scene.lasting(0, 5)
    await in_thread(scene.battlefield.start, server)
    return server


async def _paused(scene: Scene, server: str, least: float, most: float) -> str:
    scene.battlefield.pause(server)
    try:
        seconds = await scene.lasting(least, most)
    finally:
        scene.battlefield.resume(server)
    return f"{server} for {seconds:.1f} s"


async def pause_broker(scene: Scene) -> str:
    return await _paused(scene, scene.dice.choice(list(scene.battlefield.nodes)), 1, 20)


async def pause_store(scene: Scene) -> str:
    return await _paused(scene, STORE, 1, 15)


async def _alarm(scene: Scene, on: tuple[str, ...], off: tuple[str, ...]) -> str:
    node = scene.dice.choice(list(scene.battlefield.nodes))
    await in_thread(scene.battlefield.ctl, node, *on)
    try:
        seconds = await scene.lasting(3, 15)
    finally:
        await in_thread(scene.battlefield.ctl, node, *off)
    return f"{node} for {seconds:.1f} s"


async def memory_alarm(scene: Scene) -> str:
    name = "set_vm_memory_high_watermark"
    return await _alarm(scene, (name, "0.0001"), (name, "0.6"))


async def disk_alarm(scene: Scene) -> str:
    return await _alarm(scene, ("set_disk_free_limit", "9000GB"), ("set_disk_free_limit", "50MB"))


async def store_out_of_memory(scene: Scene) -> str:
    await in_thread(scene.battlefield.redis, "CONFIG", "SET", "maxmemory", "1")
    try:
        seconds = await scene.lasting(1, 6)
    finally:
        await in_thread(scene.battlefield.redis, "CONFIG", "SET", "maxmemory", "0")
    return f"for {seconds:.1f} s"


async def store_fails_over(scene: Scene) -> str:
    """It has become a replica of nobody that answers: it takes no writes (READONLY), or does not even read."""
    stale = scene.dice.choice(["yes", "no"])
    await in_thread(scene.battlefield.redis, "CONFIG", "SET", "replica-serve-stale-data", stale)
    await in_thread(scene.battlefield.redis, "REPLICAOF", "127.0.0.1", "1")
    try:
        seconds = await scene.lasting(2, 8)
    finally:
        await in_thread(scene.battlefield.redis, "REPLICAOF", "NO", "ONE")
        await in_thread(scene.battlefield.redis, "CONFIG", "SET", "replica-serve-stale-data", "yes")
    return f"{'READONLY' if stale == 'yes' else 'MASTERDOWN'} for {seconds:.1f} s"


async def store_full(scene: Scene) -> str:
    """The voyages go on because retention makes room, before Redis gets more."""
    host, port = scene.battlefield.address(STORE)
    try:
        did = await full_until_freed(f"redis://{host}:{port}/0", scene.battlefield.redis, scene.seconds(1, 4))
        await scene.lasting(1, 3)
    finally:
        await in_thread(scene.battlefield.redis, "CONFIG", "SET", "maxmemory", "0")
    return did


# --- disks ------------------------------------------------------------------------------------------------------------


async def _full(scene: Scene, name: str, leave: int = 0) -> str:
    room = scene.battlefield.rooms.get(name)
    if room is None:
        return ""
    await asyncio.to_thread(room.fill, leave)
    try:
        seconds = await scene.lasting(2, 8)
    finally:
        room.clear()
    if name in scene.battlefield.nodes:
        # What an operator does: after a few of these, RabbitMQ 3.10 gives up its Raft log until it is restarted.
        await in_thread(scene.battlefield.kill, name)
    if name in (*scene.battlefield.stores, *scene.battlefield.nodes):
        await in_thread(scene.battlefield.start, name)  # the store may well have ended of it
    if name in scene.battlefield.nodes:
        deleted = await asyncio.to_thread(scene.battlefield.delete_given_up, name)
        scene.given_up += deleted
        if deleted:
            await _mended(scene)
    return f"{room.mebibytes} MiB under {name} full for {seconds:.1f} s"


async def store_disk_full(scene: Scene) -> str:
    return await _full(scene, STORE)


async def service_disk_full(scene: Scene) -> str:
    return await _full(scene, "services")


async def broker_disk_full(scene: Scene) -> str:
    return await _full(scene, scene.dice.choice(list(scene.battlefield.nodes)), leave=1 << 20)


# --- everybody at once ------------------------------------------------------------------------------------------------


async def broker_half_open(scene: Scene) -> str:
    return await _mood(scene, "*.broker", "hole", 3, 20)


async def store_half_open(scene: Scene) -> str:
    return await _mood(scene, f"*.{STORE}", "hole", 2, 10)


async def broker_answers_lost(scene: Scene) -> str:
    return await _mood(scene, "*.broker", "deaf", 1, 5)


async def store_answers_lost(scene: Scene) -> str:
    return await _mood(scene, f"*.{STORE}", "deaf", 0.3, 3)


async def slow_broker(scene: Scene) -> str:
    return await _mood(scene, "*.broker", "delay", 3, 10, seconds=scene.dice.uniform(0.05, 1))


async def _cut_all(scene: Scene, server: str) -> str:
    return f"{await scene.wire.cut(f'*.{server}')} connections"


async def cut_everything(scene: Scene) -> str:
    return f"{await scene.wire.cut('*')} connections"


async def kill_everybody(scene: Scene) -> str:
    killed = [name for name in scene.crew.members if scene.crew.kill(name)]
    await scene.lasting(1, 3)
    return ", ".join(killed)


async def race(scene: Scene) -> str:
    """Five orchestrators instead of three, two of which are then killed."""
    racing = [scene.crew.members[name] for name in RACING]
    for member in racing:
        member.wanted = True
    seconds = await scene.lasting(8, 15)
    for member in racing:
        member.wanted = False
        scene.crew.kill(member.name)
    return f"five for {seconds:.1f} s"


async def burst(scene: Scene) -> str:
    if not scene.crew.members[LOAD].signal(signal.SIGUSR1):
        return ""
    await scene.lasting(2, 4)
    return "200 at once"


# --- queues -----------------------------------------------------------------------------------------------------------


async def _mended(scene: Scene) -> None:
    """Who may create again does so; for those who may not it takes the administrator a while."""
    if scene.administrator.permits:
        await scene.lasting(0, 6)
        await scene.administrator.mend()


async def delete_queues(scene: Scene) -> str:
    """Some, which their consumers create again, or the administrator."""
    chosen = scene.dice.sample(scene.administrator.queues, scene.dice.randint(1, 3))
    for queue in chosen:
        with suppress(Exception):  # it may be gone already
            await in_thread(scene.battlefield.delete, queue)
    await _mended(scene)
    return ", ".join(chosen)


async def silent_queue(scene: Scene) -> str:
    """One that does not answer: its Raft process is suspended."""
    node, queue = scene.dice.choice(list(scene.battlefield.nodes)), scene.dice.choice(scene.administrator.queues)
    # it may be gone already, and may have been started anew meanwhile: then there is nothing to suspend, or to resume
    suspended = await in_thread(scene.battlefield.ctl, node, "eval", f"catch sys:suspend('%2F_{queue}').")
    if suspended.strip() != "ok":
        return ""
    try:
        seconds = await scene.lasting(5, 25)
    finally:
        await in_thread(scene.battlefield.ctl, node, "eval", f"catch sys:resume('%2F_{queue}').")
    return f"{queue} on {node} for {seconds:.1f} s"


async def empty_broker(scene: Scene) -> str:
    await in_thread(scene.battlefield.empty)
    await _mended(scene)
    return "everything gone"


async def forbid(scene: Scene) -> str:
    """By mistake, as an operator would: whoever writes or reads then ends, or is refused, and goes on afterwards."""
    role = scene.dice.choice(scene.administrator.roles)
    await scene.administrator.forbid(role)
    try:
        seconds = await scene.lasting(2, 10)
    finally:
        await scene.administrator.mend()
    return f"{role} for {seconds:.1f} s"


WITH_POSTGRES: dict[str, Fault] = {
    "kill PostgreSQL": partial(kill_store, server=POSTGRES),
    "pause PostgreSQL": lambda scene: _paused(scene, POSTGRES, 1, 15),
    "disk full under PostgreSQL": lambda scene: _full(scene, POSTGRES),
    "PostgreSQL half-open": lambda scene: _mood(scene, f"*.{POSTGRES}", "hole", 2, 10),
    "PostgreSQL's answers lost": lambda scene: _mood(scene, f"*.{POSTGRES}", "deaf", 0.3, 3),
    "PostgreSQL's connections cut": lambda scene: _cut_all(scene, POSTGRES),
}
"""Big ones where the sagas are in PostgreSQL."""
WITH_PERMISSIONS: dict[str, Fault] = {"permissions taken away": forbid}
"""Big ones where each role has its own."""
BIG: dict[str, Fault] = {
    "kill the broker": kill_broker,
    "kill the store": kill_store,
    "pause the broker": pause_broker,
    "pause the store": pause_store,
    "memory alarm": memory_alarm,
    "disk alarm": disk_alarm,
    "store out of memory": store_out_of_memory,
    "store fails over": store_fails_over,
    "store full, freed by retention": store_full,
    "disk full under the store": store_disk_full,
    "disk full under the services": service_disk_full,
    "disk full under the broker": broker_disk_full,
    "broker half-open": broker_half_open,
    "store half-open": store_half_open,
    "broker's answers lost": broker_answers_lost,
    "store's answers lost": store_answers_lost,
    "slow broker": slow_broker,
    "cut everything": cut_everything,
    "kill everybody": kill_everybody,
    "race of five": race,
    "burst": burst,
    "a queue that does not answer": silent_queue,
    "delete queues": delete_queues,
    "empty the broker": empty_broker,
}
NEEDS_ROOM = {
    "disk full under the store": STORE,
    "disk full under the services": "services",
    "disk full under the broker": "rabbit",
    "disk full under PostgreSQL": POSTGRES,
}
"""Faults that are impossible where nothing can be mounted, and the room of each."""
KILLS = {
    "kill", "kill the broker", "kill the store", "kill PostgreSQL", "kill everybody", "empty the broker",
    "race of five", "kill a node", "kill a leader", "kill two nodes", "kill all nodes",
}  # fmt: skip
HALF_OPEN = {"half-open", "broker half-open"}
CUTS = {
    "cut", "cut in the middle", "cut everything", "store half-open", "PostgreSQL half-open",
    "PostgreSQL's connections cut",
} | HALF_OPEN  # fmt: skip
GIVEN_UP = "a queue that the broker gave up"
LOSES_FACTS = {"delete queues", "empty the broker", GIVEN_UP}
"""Afterwards facts may be missing until they are published again."""
