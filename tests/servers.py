"""Run a command beside a private RabbitMQ and Redis, and leave nothing behind.

    python3 tests/servers.py -- pytest -m servers

starts both on free loopback ports in a temporary folder, exports AMQP_URL, REDIS_URL and CHOROS_TEST_SERVERS (a JSON
file that says how to reach and kill them), runs the command and passes its exit code on. Missing servers are installed
where apt-get and root allow it. Only the standard library, so that it runs before anything is installed.
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

__all__ = ["BootFailed", "PrivateRabbitMQ", "PrivateRedis", "main"]

MARK = "CHOROS_TEST_SERVERS"
SET_CHILD_SUBREAPER = 36  # of prctl(2)
POLICY = Path("/usr/sbin/policy-rc.d")
PACKAGES = ("rabbitmq-server", "redis-server")
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
    given = "AMQP_URL" in os.environ and "REDIS_URL" in os.environ
    if missing() and given:
        return supervise(command, os.environ)
    if missing() and can_install():
        install()
    if missing():
        return refuse(f"Install {' and '.join(missing())} first, or set AMQP_URL and REDIS_URL to servers of your own.")
    return run_beside_servers(command)


def refuse(sentence: str) -> int:
    """Say it in one line and return the exit code for it."""
    print(sentence, file=sys.stderr)
    return 2


def run_beside_servers(command: Sequence[str]) -> int:
    """Boot both at once, run the command, and end all of it whatever happens."""
    adopt_orphans()
    folder = Path(tempfile.mkdtemp(prefix="choros-servers-"))
    watcher = start_watcher(folder)
    os.environ[MARK] = str(folder / "servers.json")  # whatever is started from here on can be found by it
    rabbitmq, redis = PrivateRabbitMQ(folder / "rabbitmq"), PrivateRedis(folder / "redis")
    try:
        return supervise(command, boot(folder, rabbitmq, redis))
    finally:
        ignore_signals()
        rabbitmq.kill(epmd=True)
        redis.kill()
        clean(folder)
        watcher.close()
        end_children()


def boot(folder: Path, rabbitmq: PrivateRabbitMQ, redis: PrivateRedis) -> dict[str, str]:
    """Start both and return the environment that leads to them."""
    redis.spawn()
    rabbitmq.spawn()
    redis.wait_ready()
    rabbitmq.wait_ready()
    (folder / "servers.json").write_text(json.dumps(description(rabbitmq, redis), indent=2))
    return {**os.environ, "AMQP_URL": rabbitmq.url, "REDIS_URL": redis.url}


def description(rabbitmq: PrivateRabbitMQ, redis: PrivateRedis) -> dict[str, object]:
    """What a test needs to reach, inspect or kill them."""
    return {
        "amqp_url": rabbitmq.url,
        "redis_url": redis.url,
        "redis_port": redis.port,
        "rabbitmq_pid": rabbitmq.pid,
        "redis_pid": redis.pid,
        "node": rabbitmq.node,
        "home": str(rabbitmq.folder),
        "rabbitmqctl": str(find_rabbitmq("rabbitmqctl")),
        "rabbitmqctl_environment": rabbitmq.erlang_environment(),
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
    have = {"rabbitmq-server": find_rabbitmq() and find_epmd(), "redis-server": find_program("redis-server")}
    return [package for package in PACKAGES if not have[package]]


def can_install() -> bool:
    """Only root, and only where apt-get is."""
    return os.geteuid() == 0 and find_program("apt-get") is not None


def install() -> None:
    """Install the packages without letting them start a server."""
    print(f"Installing {' and '.join(missing())} ...", file=sys.stderr)
    with nothing_starts():
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
