"""Run a command beside a private RabbitMQ, Redis and PostgreSQL, and leave nothing behind.

    python3 tests/servers.py -- pytest -m servers

starts them on free loopback ports in a temporary folder, exports AMQP_URL, REDIS_URL, POSTGRES_URL and
CHOROS_TEST_SERVERS (a JSON file that says how to reach and kill them), runs the command and passes its exit code on.
Missing servers are installed where apt-get and root allow it. Only the standard library, so that it runs before
anything is installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

if not __package__:  # run as a script: make the repository importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.private_postgresql import PrivatePostgreSQL, find_postgresql, free_shared_memory
from tests.private_servers import (
    LIBC,
    LINUX,
    BootFailed,
    PrivateRabbitMQ,
    PrivateRedis,
    find_epmd,
    find_program,
    find_rabbitmq,
    kill_group,
)

__all__ = ["BootFailed", "PrivatePostgreSQL", "PrivateRabbitMQ", "PrivateRedis", "main"]

MARK = "CHOROS_TEST_SERVERS"
SET_CHILD_SUBREAPER = 36  # of prctl(2)
POLICY = Path("/usr/sbin/policy-rc.d")
CLUSTERS = Path("/etc/postgresql-common/createcluster.d/choros-tests.conf")
PACKAGES = ("rabbitmq-server", "redis-server", "postgresql")
VARIABLES = ("AMQP_URL", "REDIS_URL", "POSTGRES_URL")
USAGE = "usage: python3 tests/servers.py -- COMMAND [ARGUMENT...]"
GRACE_SECONDS = 10.0


class Stopped(BaseException):
    """A signal asked us to end."""

    def __init__(self, sign: int) -> None:
        """Remember which, for the command and for the exit code."""
        self.sign = signal.Signals(sign)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; 1 if a server does not boot, 2 if it cannot be had."""
    command = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    if not command:
        return refuse(USAGE)
    try:
        return run(command)
    except Stopped as stopped:
        return 128 + stopped.sign
    except BootFailed as failed:
        print(failed, file=sys.stderr)
        return 1


def run(command: Sequence[str]) -> int:
    """Choose the servers: private ones if they can be had, else those the environment names."""
    listen_to_signals()
    given = all(variable in os.environ for variable in VARIABLES)
    if missing() and given:
        return supervise(command, os.environ)
    if missing() and can_install():
        install()
    if missing():
        return refuse(f"Install {listed(missing())} first, or set {listed(VARIABLES)} to servers of your own.")
    return run_beside_servers(command)


def listed(names: Sequence[str]) -> str:
    """As in a sentence: one, two and three."""
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + [*names[-1:]])


def refuse(sentence: str) -> int:
    """Say it in one line and return the exit code for it."""
    print(sentence, file=sys.stderr)
    return 2


def run_beside_servers(command: Sequence[str]) -> int:
    """Boot all at once, run the command, and end all of it whatever happens."""
    adopt_orphans()
    folder = Path(tempfile.mkdtemp(prefix="choros-servers-"))
    watcher = start_watcher(folder)
    os.environ[MARK] = str(folder / "servers.json")  # whatever is started from here on can be found by it
    started = Servers(folder)
    try:
        return supervise(command, started.boot())
    finally:
        ignore_signals()
        started.kill()
        clean(folder)
        watcher.close()
        end_children()


class Servers:
    """Those of one run, in one folder."""

    def __init__(self, folder: Path) -> None:
        """Choose the ports; nothing is started yet."""
        self.folder = folder
        self.rabbitmq = PrivateRabbitMQ(folder / "rabbitmq")
        self.redis = PrivateRedis(folder / "redis")
        self.postgresql = PrivatePostgreSQL(folder / "postgresql")

    def boot(self) -> dict[str, str]:
        """Start all and return the environment that leads to them. RabbitMQ takes longest, and comes first."""
        for server in (self.rabbitmq, self.redis, self.postgresql):
            server.spawn()
        for server in (self.redis, self.postgresql, self.rabbitmq):
            server.wait_ready()
        (self.folder / "servers.json").write_text(json.dumps(self.description(), indent=2))
        urls = (self.rabbitmq.url, self.redis.url, self.postgresql.url)
        return {**os.environ, **dict(zip(VARIABLES, urls, strict=True))}

    def kill(self) -> None:
        """End all of them at once."""
        self.rabbitmq.kill(epmd=True)
        self.redis.kill()
        self.postgresql.kill()

    def description(self) -> dict[str, object]:
        """What a test needs to reach, inspect or kill them."""
        return {
            "amqp_url": self.rabbitmq.url,
            "redis_url": self.redis.url,
            "postgres_url": self.postgresql.url,
            "redis_port": self.redis.port,
            "rabbitmq_pid": self.rabbitmq.pid,
            "redis_pid": self.redis.pid,
            "postgres_pid": self.postgresql.pid,
            "node": self.rabbitmq.node,
            "home": str(self.rabbitmq.folder),
            "rabbitmqctl": str(find_rabbitmq("rabbitmqctl")),
            "rabbitmqctl_environment": self.rabbitmq.erlang_environment(),
        }


# --- the command ------------------------------------------------------------------------------------------------------


def supervise(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run it in a group of its own; on a signal pass that on and give it time to end well."""
    try:
        process = subprocess.Popen(command, env=environment, start_new_session=True)
    except OSError as error:
        print(f"Cannot run {command[0]}: {error.strerror}.", file=sys.stderr)
        return 127
    try:
        return exit_code(wait(process))
    except Stopped as stopped:
        end_well(process, stopped.sign)
        raise
    finally:
        kill_group(process)


def wait(process: subprocess.Popen[bytes]) -> int:
    """Until the command ends. Orphans that end meanwhile are ours to collect: RabbitMQ makes two a minute."""
    while LINUX and process.poll() is None:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if ended and ended.si_pid != process.pid:
            reap(ended.si_pid)
    return process.wait()


def reap(pid: int) -> None:
    """Collect an ended child. (`Popen` copes with one that somebody else has collected.)"""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def end_well(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    """A second signal ends the patience."""
    kill_group(process, sign)
    with contextlib.suppress(subprocess.TimeoutExpired, Stopped):
        process.wait(GRACE_SECONDS)


def exit_code(status: int) -> int:
    """As a shell reports it: 128 + n for a death by signal n."""
    return status if status >= 0 else 128 - status


def listen_to_signals() -> None:
    """Turn the usual requests to end into an exception, so that `finally` does its work."""

    def stop(sign: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped(sign)

    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, stop)


def ignore_signals() -> None:
    """An impatient second Ctrl-C must not stop the cleaning."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)


# --- leaving nothing behind -------------------------------------------------------------------------------------------


class Watcher:
    """A process that waits for our end and then cleans, for the case that we are killed by kill -9."""

    def __init__(self, pid: int, lifeline: int) -> None:
        """The kernel closes the lifeline when we end, however we end."""
        self.pid, self.lifeline = pid, lifeline

    def close(self) -> None:
        """Let it go and wait until it has gone."""
        os.close(self.lifeline)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def start_watcher(folder: Path) -> Watcher:
    """Fork before anything else is started, so that it holds nothing but the pipe."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        watch(reading, folder)
    os.close(reading)
    return Watcher(pid, writing)


def watch(lifeline: int, folder: Path) -> NoReturn:
    """The life of the watcher."""
    try:
        os.setsid()
        ignore_signals()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)  # or a pipe after `make test` would stay open
        os.read(lifeline, 1)
        clean(folder)
    finally:
        os._exit(0)


def clean(folder: Path) -> None:
    """Kill all that was started beside these servers, then remove the folder."""
    kill_marked(f"{MARK}={folder}/")
    free_shared_memory(folder / "postgresql")
    shutil.rmtree(folder, ignore_errors=True)


def adopt_orphans() -> None:
    """Make grandchildren ours when their parent dies, so that none is left as a zombie."""
    if LINUX:
        LIBC.prctl(SET_CHILD_SUBREAPER, 1)


def end_children() -> None:
    """Kill and collect whatever is our child by now, orphans of the command included."""
    while children := [int(pid) for entry in Path("/proc/self/task").glob("*/children") for pid in read_words(entry)]:
        for pid in children:
            end_child(pid)


def end_child(pid: int) -> None:
    """Kill and collect one."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def read_words(path: Path) -> list[str]:
    """The words of a file that may vanish meanwhile."""
    with contextlib.suppress(OSError):
        return path.read_text().split()
    return []


def kill_marked(mark: str) -> None:
    """Kill until none is left, since a process may fork while we look."""
    for _ in range(200):
        found = [pid for pid in marked(mark) if pid != os.getpid()]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def marked(mark: str) -> Iterator[int]:
    """Every process that has this mark in its environment, however far it has run from its parent."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (entry / "environ").read_bytes():
                yield int(entry.name)


# --- installing -------------------------------------------------------------------------------------------------------


def missing() -> list[str]:
    """The packages that must be installed first."""
    have = (find_rabbitmq() and find_epmd(), find_program("redis-server"), find_postgresql())
    return [package for package, found in zip(PACKAGES, have, strict=True) if not found]


def can_install() -> bool:
    """Only root, and only where apt-get is."""
    return os.geteuid() == 0 and find_program("apt-get") is not None


def install() -> None:
    """Install the packages without letting them start a server."""
    print(f"Installing {listed(missing())} ...", file=sys.stderr)
    with nothing_starts(), no_cluster():
        for step in (["update"], ["install", "--yes", "--no-install-recommends", *missing()]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *step]
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def nothing_starts() -> Iterator[None]:
    """Debian's own switch: a policy-rc.d that answers 101 keeps packages from starting their servers."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


@contextlib.contextmanager
def no_cluster() -> Iterator[None]:
    """A switch of Debian's PostgreSQL: it would make a database cluster, and start it whenever the machine boots."""
    CLUSTERS.parent.mkdir(parents=True, exist_ok=True)
    CLUSTERS.write_text("create_main_cluster = false\n")
    try:
        yield
    finally:
        CLUSTERS.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
