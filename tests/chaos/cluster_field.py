"""The battlefield with three nodes, and what can only be done to those: leaders, two or all are killed, or cut off."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import RLock

from tests.chaos.battlefield import STORE, Address, depths_of, in_thread, redis_cli, versions_of
from tests.chaos.campaign import Campaign, Plan
from tests.chaos.cluster import AMQP_PORT, Cluster, ClusterNode
from tests.chaos.faults import Fault, Scene
from tests.chaos.nemesis import Nemesis
from tests.chaos.rooms import Room
from tests.private_servers import BootFailed, PrivateRedis

_TRIES = 3


class Clustered:
    """Three RabbitMQ nodes with quorum queues, and one Redis."""

    def __init__(self, folder: Path, rooms: Mapping[str, Room]) -> None:
        """Lay the lines; nothing is started yet."""
        self.folder = folder
        self.rooms: Mapping[str, Room] = {name: room for name, room in rooms.items() if name != "rabbit"}
        self.cluster = Cluster(folder / "cluster")
        self.store = PrivateRedis(rooms[STORE].path if STORE in rooms else folder / STORE)
        self._by_name = {f"node{node.number}": node for node in self.cluster.nodes}
        self._locks = {name: RLock() for name in (*self._by_name, STORE)}

    @property
    def nodes(self) -> Sequence[str]:
        return tuple(self._by_name)

    @property
    def stores(self) -> Sequence[str]:
        return (STORE,)

    @property
    def sagas(self) -> str:
        return STORE

    def node(self, name: str) -> ClusterNode:
        """The node of this name."""
        return self._by_name[name]

    def address(self, server: str) -> Address:
        return ("127.0.0.1", self.store.port) if server == STORE else (self._by_name[server].address, AMQP_PORT)

    def open(self) -> None:
        self.store.start()
        self.cluster.start()

    def close(self) -> None:
        if self.store.process is not None:
            os.kill(self.store.pid, signal.SIGCONT)
        self.store.stop()
        self.cluster.close()

    def start(self, server: str) -> None:
        """A node may boot before those it waits for; then it is tried again."""
        with self._locks[server]:
            one = self._server(server)
            if not one.running:
                one.kill()  # collects what ended by itself
                one.start()

    def kill(self, server: str) -> None:
        with self._locks[server]:
            self._server(server).kill()

    def pause(self, server: str) -> None:
        with suppress(AssertionError, ProcessLookupError):  # somebody else has just killed it
            os.kill(self._server(server).pid, signal.SIGSTOP)

    def resume(self, server: str) -> None:
        with suppress(AssertionError, ProcessLookupError):
            os.kill(self._server(server).pid, signal.SIGCONT)

    def ctl(self, node: str, *arguments: str) -> str:
        return self._by_name[node].ctl(*arguments)

    def redis(self, *command: str) -> str:
        return redis_cli(self.store.port, *command)

    def empty(self) -> None:
        with ExitStack() as everything:
            for name in self.nodes:
                everything.enter_context(self._locks[name])
            for tries_left in reversed(range(_TRIES)):
                for node in self.cluster.nodes:
                    node.kill()
                    shutil.rmtree(node.folder / "data", ignore_errors=True)
                try:
                    self.cluster.start()
                except (BootFailed, subprocess.TimeoutExpired):  # half a cluster is of no use to anybody
                    if not tries_left:
                        raise
                else:
                    break

    def delete(self, queue: str) -> None:
        self._ask("delete_queue", queue)

    def delete_given_up(self, node: str) -> list[str]:
        return []  # the other nodes still have it

    def depths(self) -> Mapping[str, int]:
        return depths_of(self._ask("--formatter", "json", "list_queues", "name", "messages"))

    def versions(self) -> Mapping[str, str]:
        return versions_of(self.cluster.nodes[0], self.store)

    def _server(self, name: str) -> ClusterNode | PrivateRedis:
        return self.store if name == STORE else self._by_name[name]

    def _ask(self, *arguments: str) -> str:
        """Whichever node can answer: one that has paused itself cannot."""
        failure = BootFailed("No node runs.")
        for node in self.cluster.running:
            try:
                return node.ctl(*arguments)
            except BootFailed as refused:
                failure = refused
        raise failure


# --- faults -----------------------------------------------------------------------------------------------------------


def _field(scene: Scene) -> Clustered:
    assert isinstance(scene.battlefield, Clustered)
    return scene.battlefield


async def _kill(scene: Scene, names: Sequence[str]) -> str:
    """Kill these, wait, start them at once, since one may wait for the other."""
    await asyncio.gather(*(in_thread(_field(scene).kill, name) for name in names))
    await scene.lasting(0, 6)
    await asyncio.gather(*(in_thread(_field(scene).start, name) for name in names))
    return ", ".join(names)


async def _cut_off(scene: Scene, name: str) -> str:
    field_, node = _field(scene), _field(scene).node(name)
    field_.cluster.cut_off(node)
    try:
        seconds = await scene.lasting(3, 25)  # both sides of the time after which a silent node counts as gone
    finally:
        field_.cluster.reconnect(node)
    return f"{name} for {seconds:.1f} s"


async def _leading(scene: Scene) -> str:
    """The node that leads some queue."""
    leaders = await asyncio.to_thread(_field(scene).cluster.leaders)
    queues = sorted(queue for queue in leaders if not queue.endswith(".dead"))
    return f"node{leaders[scene.dice.choice(queues)].number}"


async def kill_node(scene: Scene) -> str:
    return await _kill(scene, [scene.dice.choice(list(_field(scene).nodes))])


async def kill_leader(scene: Scene) -> str:
    return await _kill(scene, [await _leading(scene)])


async def kill_two(scene: Scene) -> str:
    return await _kill(scene, scene.dice.sample(list(_field(scene).nodes), 2))


async def kill_all(scene: Scene) -> str:
    return await _kill(scene, list(_field(scene).nodes))


async def cut_off_node(scene: Scene) -> str:
    return await _cut_off(scene, scene.dice.choice(list(_field(scene).nodes)))


async def cut_off_leader(scene: Scene) -> str:
    return await _cut_off(scene, await _leading(scene))


ROUND: Sequence[tuple[str, Fault]] = (
    ("kill a node", kill_node),
    ("kill a leader", kill_leader),
    ("cut off a leader", cut_off_leader),
    ("kill a leader", kill_leader),
    ("kill two nodes", kill_two),
    ("kill a node", kill_node),
    ("cut off a node", cut_off_node),
    ("kill a leader", kill_leader),
    ("kill all nodes", kill_all),
)
"""What happens to the nodes, round after round."""
KILLED = {"kill a node": 1, "kill a leader": 1, "kill two nodes": 2, "kill all nodes": 3, "kill the broker": 1}
"""Nodes killed by kind of fault."""


@dataclass
class NodeNemesis(Nemesis):
    """Beside everything else, the nodes are hurt one round after the other."""

    every: float = field(default=3.0)
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, seconds: float) -> None:
        """Until the time is over; every fault that was begun is healed."""
        await asyncio.gather(super().run(seconds), self._nodes(seconds))

    async def _nodes(self, seconds: float) -> None:
        until, number = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            await asyncio.sleep(self.every * self.scene.dice.uniform(0.5, 1.5))
            kind, fault = ROUND[number % len(ROUND)]
            await self._do(kind, fault, big=True)
            number += 1

    async def _do(self, kind: str, fault: Fault, *, big: bool) -> None:
        """A node can neither join nor come back while somebody kills or cuts off the others."""
        async with self.one_at_a_time if big else nullcontext():
            await super()._do(kind, fault, big=big)

    @property
    def node_kills(self) -> int:
        """How many nodes were killed."""
        return sum(KILLED.get(kind, 0) * count for kind, count in self.counts.items())


def clustered(plan: Plan, folder: Path, say: Callable[[str], None]) -> Campaign:
    """A campaign on three nodes: what happens on one happens too, but seldom; most of what is big happens to nodes."""
    plan = replace(plan, rate=plan.rate / 3, in_flight=plan.in_flight // 3)  # three nodes need the processors, too
    campaign = Campaign(plan, folder, say, make_field=Clustered)
    rest = campaign.nemesis
    campaign.nemesis = NodeNemesis(rest.scene, rest.path, 2 * rest.small_every, 10 * rest.big_every, say)
    campaign.nemesis.extra = rest.extra
    return campaign
