"""Three RabbitMQ nodes that can be killed and cut off from each other, each in a network namespace of its own.

    switch (namespace)                 node 1 (namespace)
      bridge "clients" ---- line ---- "clients"   198.18.N.11   AMQP
      bridge "nodes"   ---- line ---- "nodes"     198.19.N.11   what the nodes say to each other
      bridge "clients" ---- line ---- "chorosN" in this process's namespace, 198.18.N.1

Cutting the "nodes" line of a node partitions the cluster, while every client still reaches every node. Nothing is left
behind, whatever happens: see `network`. The addresses (RFC 2544, for tests of networks) lead nowhere.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.chaos.network import Namespace, run
from tests.private_servers import BootFailed, PrivateRabbitMQ, find_rabbitmq

AMQP_PORT, EPMD_PORT, DISTRIBUTION_PORT = 5672, 4369, 25672
NUMBERS = (1, 2, 3)
TICK_SECONDS = 8
"""After about so long without an answer a node counts as gone (RabbitMQ's default is a minute). `rabbitmqctl` must say
the same, or the node that it asks takes it for gone while it waits."""
CTL_SECONDS = 180.0
_LEADER = re.compile(r"\{'?%2F_([^',\s]+)'?,\s*\{'?[^',\s]+'?,\s*(rabbit@node\d)\}")
RUNNING = """case erlang:function_exported(rabbit_nodes, list_running, 0) of
    true -> rabbit_nodes:list_running();
    false -> rabbit_mnesia:cluster_nodes(running)
end."""
"""In Erlang; Mnesia went with RabbitMQ 4.3, and 3.10 does not have the newer name yet."""


class ClusterNode(PrivateRabbitMQ):
    """One node, in a namespace of its own."""

    name = "rabbitmq-server (of a cluster)"

    def __init__(self, folder: Path, number: int, subnet: int, cookie: str) -> None:
        """Make the namespace and write the configuration; nothing is started yet."""
        self.number = number
        self.address = f"198.18.{subnet}.{10 + number}"
        self.namespace = Namespace()
        super().__init__(folder)
        self.port, self.epmd_port, self.distribution_port = AMQP_PORT, EPMD_PORT, DISTRIBUTION_PORT
        self.node = f"rabbit@node{number}"
        self.url = f"amqp://guest:guest@{self.address}:{AMQP_PORT}/"
        (folder / ".erlang.cookie").write_text(cookie)
        (folder / ".erlang.cookie").chmod(0o400)
        hosts = [f'{{host, {{198,19,{subnet},{10 + other}}}, ["node{other}"]}}.' for other in NUMBERS]
        (folder / "inetrc").write_text("\n".join(["{lookup, [file]}.", '{host, {127,0,0,1}, ["localhost"]}.', *hosts]))

    def join(self, other: ClusterNode) -> None:
        """Become a member of the other node's cluster; this node forgets what it had."""
        for words in (["stop_app"], ["join_cluster", other.node], ["start_app"]):
            self.ctl(*words)

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints, asked from within the namespace; raises BootFailed with what it complains of."""
        command = [str(find_rabbitmq("rabbitmqctl")), "-q", *arguments]
        done = subprocess.run(
            command, env=self._environment(), check=False, capture_output=True, text=True, timeout=CTL_SECONDS,
            preexec_fn=self.namespace.enter,
        )  # fmt: skip
        if done.returncode:
            raise BootFailed(f"{' '.join(command[1:])} on {self.node}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def sees(self) -> set[str]:
        """The nodes that this one counts as running, itself included."""
        listed = self.ctl("eval", RUNNING)
        return {f"rabbit@node{number}" for number in NUMBERS if f"rabbit@node{number}" in listed}

    def pause(self) -> None:
        """SIGSTOP: from outside it looks half-open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def erlang_environment(self) -> dict[str, str]:
        """Hosts are looked up in a file of ours; epmd listens where the other nodes are, too."""
        whole = super().erlang_environment() | {"ERL_INETRC": str(self.folder / "inetrc")}
        del whole["ERL_EPMD_ADDRESS"]
        return whole

    def _distribution(self) -> dict[str, str]:
        arguments = f"-start_epmd false -kernel net_ticktime {TICK_SECONDS} +sbwt none +sbwtdcpu none +sbwtdio none"
        return {
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": arguments,
            "RABBITMQ_CTL_ERL_ARGS": f"-kernel net_ticktime {TICK_SECONDS}",
        }

    def _write_configuration(self) -> None:
        super()._write_configuration()
        path = self.folder / "rabbitmq.conf"
        kept = [line for line in path.read_text().splitlines() if not line.startswith("listeners")]
        ours = [
            f"listeners.tcp.local = 0.0.0.0:{AMQP_PORT}",
            "loopback_users.guest = false",
            "cluster_partition_handling = pause_minority",
        ]
        path.write_text("\n".join([*kept, *ours]) + "\n")

    def _popen(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        words = list(command)
        if "-address" in words:
            del words[words.index("-address") :]  # epmd: on every interface of its namespace
        with self.log.open("ab") as log:
            return subprocess.Popen(
                words, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=self.namespace.enter,
            )  # fmt: skip

    def _answers(self) -> bool:
        start = self._answer_to(AMQP_PORT, b"AMQP\x00\x00\x09\x01", 11)
        return start[:1] == b"\x01" and start[7:] == b"\x00\x0a\x00\x0a"

    def _wait_for_epmd(self) -> None:
        deadline = time.monotonic() + 10
        while not self._answer_to(EPMD_PORT, b"\x00\x01n", 4):
            if time.monotonic() > deadline:
                raise BootFailed(f"epmd did not start. The end of its log:\n{self._log_tail()}")
            time.sleep(0.02)

    def _answer_to(self, port: int, question: bytes, length: int) -> bytes:
        with contextlib.suppress(OSError), socket.create_connection((self.address, port), timeout=2) as connection:
            connection.sendall(question)
            return connection.recv(length)
        return b""


class Cluster:
    """Three nodes and the lines between them."""

    def __init__(self, folder: Path) -> None:
        """Lay the lines; raises BootFailed where that is not allowed."""
        self._subnet = random.randint(1, 250)
        self._switch = Namespace()
        self.nodes: list[ClusterNode] = []
        cookie = f"CHOROS{random.getrandbits(64):X}"
        try:
            self._make_switch()
            for number in NUMBERS:
                self.nodes.append(ClusterNode(folder / f"node{number}", number, self._subnet, cookie))
                self._wire(self.nodes[-1])
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The address of all three."""
        hosts = ",".join(f"{node.address}:{AMQP_PORT}" for node in self.nodes)
        return f"amqp://guest:guest@{hosts}/"

    def start(self) -> None:
        """Boot all three at once, then make them one cluster."""
        for node in self.nodes:
            node.spawn()
        for node in self.nodes:
            node.wait_ready()
        for node in self.nodes[1:]:
            node.join(self.nodes[0])

    @property
    def running(self) -> list[ClusterNode]:
        """The nodes whose process is there."""
        return [node for node in self.nodes if node.running]

    def leader(self, queue: str) -> ClusterNode:
        """The node that leads a quorum queue at the moment; raises BootFailed if none that runs can say."""
        leaders = self.leaders()
        if queue not in leaders:
            raise BootFailed(f"Nobody knows who leads {queue}.")
        return leaders[queue]

    def leaders(self) -> dict[str, ClusterNode]:
        """Who leads which quorum queue, as far as any running node can say. (`list_queues` would ask, and wait for,
        the queues themselves.)"""
        for asked in self.running:
            with contextlib.suppress(BootFailed, subprocess.TimeoutExpired):
                found = dict(_LEADER.findall(asked.ctl("eval", "ets:tab2list(ra_leaderboard).")))
                if found:  # one that has just come back has heard of nobody yet
                    return {queue: node for queue, name in found.items() for node in self.nodes if node.node == name}
        return {}

    def cut_off(self, node: ClusterNode) -> None:
        """From now on this node and the two others hear nothing from each other."""
        self._switch.run("ip", "link", "set", f"nodes{node.number}", "down")

    def reconnect(self, node: ClusterNode) -> None:
        """The line works again; `pause_minority` lets the node rejoin by itself."""
        self._switch.run("ip", "link", "set", f"nodes{node.number}", "up")

    def close(self) -> None:
        """kill -9 of everything; the namespaces and the lines between them go with their processes."""
        for node in self.nodes:
            node.kill(epmd=True)
            node.namespace.close()
        with contextlib.suppress(BootFailed):  # it goes with its other end, but not at once
            run(("ip", "link", "del", self._uplink))
        self._switch.close()

    @property
    def _uplink(self) -> str:
        return f"choros{self._subnet}"

    def _make_switch(self) -> None:
        for bridge in ("clients", "nodes"):
            self._switch.run("ip", "link", "add", bridge, "type", "bridge")
            self._switch.run("ip", "link", "set", bridge, "up")
        switch = str(self._switch.pid)
        run(("ip", "link", "add", self._uplink, "type", "veth", "peer", "name", "uplink", "netns", switch))
        run(("ip", "address", "add", f"198.18.{self._subnet}.1/24", "dev", self._uplink))
        run(("ip", "link", "set", self._uplink, "up"))
        self._switch.run("ip", "link", "set", "uplink", "master", "clients", "up")

    def _wire(self, node: ClusterNode) -> None:
        node.namespace.run("ip", "link", "set", "lo", "up")
        for network, line in (("198.18", "clients"), ("198.19", "nodes")):
            self._switch.link(node.namespace, f"{line}{node.number}", line)
            self._switch.run("ip", "link", "set", f"{line}{node.number}", "master", line, "up")
            node.namespace.run("ip", "address", "add", f"{network}.{self._subnet}.{10 + node.number}/24", "dev", line)
            node.namespace.run("ip", "link", "set", line, "up")


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster of three that is up, and gone afterwards."""
    three = Cluster(folder)
    try:
        three.start()
        yield three
    finally:
        three.close()
