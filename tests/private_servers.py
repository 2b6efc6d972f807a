"""A RabbitMQ and a Redis for one test or one test run: own ports on loopback, own folder, nothing shared.

A test that wants to pull the plug starts a second one:

    broker = PrivateRabbitMQ(tmp_path / "rabbitmq")
    broker.start()
    broker.kill()

Only the standard library, so that it runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BOOT_SECONDS = 240.0
LINUX = sys.platform == "linux"
LIBC = ctypes.CDLL(None, use_errno=True)
SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)
# Debian keeps servers where an ordinary user's PATH does not look.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


class BootFailed(Exception):
    """A server did not become ready; the message ends with the tail of its log."""


# --- finding things ---------------------------------------------------------------------------------------------------


def find_program(name: str) -> Path | None:
    """The program on PATH, or nothing. Links are kept: some programs look at the name they are called by."""
    found = shutil.which(name, path=SEARCH_PATH)
    return Path(found) if found else None


def find_rabbitmq(script: str = "rabbitmq-server") -> Path | None:
    """RabbitMQ's own script. On Debian the one on PATH is a wrapper that does `su` and hides a failed start."""
    wrapper = find_program("rabbitmq-server")
    beside = wrapper.resolve().parent / script if wrapper else None
    return beside if beside and beside.exists() else None


def find_epmd() -> Path | None:
    """Erlang's port mapper: on PATH, or inside the Erlang that `erl` belongs to."""
    erl = find_program("erl")
    inside = sorted(erl.resolve().parent.parent.glob("erts-*/bin/epmd")) if erl else []
    return find_program("epmd") or (inside[-1] if inside else None)


def free_ports(count: int) -> list[int]:
    """Ports below the range the kernel takes outgoing connections from, so none is taken while a server boots."""
    ports: set[int] = set()
    while len(ports) < count:
        port = random.randint(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            ports.add(port)
    return list(ports)


# --- processes --------------------------------------------------------------------------------------------------------


def die_with_parent() -> None:
    """Run in the child: the kernel kills it when its parent is gone, even by kill -9."""
    if LINUX:
        LIBC.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def kill_group(process: subprocess.Popen[bytes], sign: signal.Signals = signal.SIGKILL) -> None:
    """Signal the process and all it started in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sign)


# --- servers ----------------------------------------------------------------------------------------------------------


class PrivateServer(ABC):
    """One server process in a folder of its own, on loopback. Spawn from a thread that outlives it."""

    name = "server"

    def __init__(self, folder: Path) -> None:
        """Choose ports; nothing is started yet."""
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the server itself: no shell stands in between."""
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    def start(self) -> None:
        """Spawn it and wait until it answers."""
        self.spawn()
        self.wait_ready()

    def spawn(self) -> None:
        """Start without waiting."""
        self.process = self._popen(self._command(), self._environment())

    def wait_ready(self) -> None:
        """Return once the server talks its protocol; raise `BootFailed` if it ends or is late."""
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                raise BootFailed(f"{self.name} did not start. The end of its log:\n{self._log_tail()}")
            time.sleep(0.05)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """End it in good order, by force after 20 seconds."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again on the same ports and files."""
        self.stop()
        self.start()

    def _end(self, sign: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        kill_group(self.process)
        self.process.wait()
        self.process = None

    def _popen(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the launcher, which ends the servers last
                preexec_fn=die_with_parent,
                **self._popen_options(),
            )

    def _popen_options(self) -> dict[str, Any]:
        return {"cwd": self.folder}

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-25:]) or "(empty)"

    @abstractmethod
    def _command(self) -> list[str]:
        """The program and its arguments."""

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it is ready."""


def answer_to(port: int, question: bytes, length: int) -> bytes:
    """The first bytes a server on this port says to a question; empty if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(question)
            return connection.recv(length)
    except OSError:
        return b""


class PrivateRedis(PrivateServer):
    """A Redis that loses nothing it has acknowledged."""

    name = "redis-server"

    def __init__(self, folder: Path) -> None:
        """Choose the port; nothing is started yet."""
        super().__init__(folder)
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": "", "appendonly": "yes"}
        durable = {"appendfsync": "always", "maxmemory-policy": "noeviction"}
        arguments = [part for key, value in {**options, **durable}.items() for part in (f"--{key}", str(value))]
        return [str(find_program("redis-server")), *arguments]

    def _answers(self) -> bool:
        return answer_to(self.port, b"PING\r\n", 5) == b"+PONG"


class PrivateRabbitMQ(PrivateServer):
    """A RabbitMQ node with its own cookie, files, ports and port mapper, which does not outlive it."""

    name = "rabbitmq-server"

    def __init__(self, folder: Path) -> None:
        """Choose the ports and write the configuration; nothing is started yet."""
        super().__init__(folder)
        self.port, self.epmd_port, self.distribution_port = free_ports(3)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.node = f"choros-{self.port}@localhost"
        self.epmd: subprocess.Popen[bytes] | None = None
        self._write_configuration()

    def spawn(self) -> None:
        """Start the port mapper in the foreground (a daemon would outlive us), then the node."""
        if self.epmd is None:
            port = str(self.epmd_port)
            self.epmd = self._popen([str(find_epmd()), "-port", port, "-address", "127.0.0.1"], self._environment())
            self._wait_for_epmd()
        super().spawn()

    def stop(self) -> None:
        """End the node and its port mapper."""
        super().stop()
        self._end_epmd()

    def kill(self, epmd: bool = False) -> None:
        """kill -9 of the node; the port mapper stays for the next start unless told otherwise."""
        super().kill()
        if epmd:
            self._end_epmd()

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints for these arguments."""
        command = [str(find_rabbitmq("rabbitmqctl")), "-q", *arguments]
        done = subprocess.run(command, env=self._environment(), check=True, capture_output=True, text=True)
        return done.stdout

    def erlang_environment(self) -> dict[str, str]:
        """What `rabbitmqctl` needs to find this node, and no other."""
        return {
            "HOME": str(self.folder),  # the Erlang cookie is there
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none.conf"),
        }

    def _environment(self) -> dict[str, str]:
        folder, ours = str(self.folder), self.erlang_environment()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RABBITMQ_")}
        files = {
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_SCHEMA_DIR": f"{folder}/schema",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/config",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_LOGS": "-",
        }
        # The last one makes the script exec Erlang: our child is then the node, not a shell that waits for it.
        return {**inherited, **ours, **files, **self._distribution(), "RUNNING_UNDER_SYSTEMD": "true"}

    def _distribution(self) -> dict[str, str]:
        loopback = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
        no_spinning = "+sbwt none +sbwtdcpu none +sbwtdio none"
        return {
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{loopback} {no_spinning}",
        }

    def _write_configuration(self) -> None:
        settings = {
            "listeners.tcp.local": f"127.0.0.1:{self.port}",
            "disk_free_limit.absolute": "50MB",
            "vm_memory_high_watermark.relative": "0.6",
            "max_message_size": "134217728",  # as 3.10 has it; 4.0 and newer take 16 MiB unless told otherwise
            "raft.wal_max_size_bytes": "67108864",  # the default preallocates half a gigabyte
            "log.console.level": "warning",
        }
        (self.folder / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        # A cluster of 4.3 keeps what a lost node's consumers hold for a minute; older ones do not know the setting.
        (self.folder / "advanced.config").write_text("[{rabbit, [{consumer_disconnected_timeout, 5000}]}].\n")
        (self.folder / "enabled_plugins").write_text("[].\n")

    def _command(self) -> list[str]:
        return [str(find_rabbitmq())]

    def _answers(self) -> bool:
        start = answer_to(self.port, b"AMQP\x00\x00\x09\x01", 11)
        return start[:1] == b"\x01" and start[7:] == b"\x00\x0a\x00\x0a"  # a method frame: Connection.Start

    def _wait_for_epmd(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while not answer_to(self.epmd_port, b"\x00\x01n", 4):  # "names?"
            if self.epmd is None or self.epmd.poll() is not None or time.monotonic() > deadline:
                raise BootFailed(f"epmd did not start. The end of its log:\n{self._log_tail()}")
            time.sleep(0.02)

    def _end_epmd(self) -> None:
        if self.epmd is not None:
            self.epmd.kill()
            self.epmd.wait()
            self.epmd = None
