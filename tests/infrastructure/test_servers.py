"""tests/servers.py leaves nothing behind, whatever ends it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests import servers
from tests.patience import PATIENCE
from tests.private_postgresql import children_of, is_alive
from tests.servers import MARK, PrivatePostgreSQL, PrivateRabbitMQ, marked, missing

SCRIPT = Path(__file__).parents[1] / "servers.py"

pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
    pytest.mark.skipif(bool(missing()), reason="this run uses servers of yours, so there is nothing to start"),
]


class Launched:
    """One run of the launcher, with its temporary folder where we can look for it."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.folder = folder
        environment = {key: value for key, value in os.environ.items() if key != MARK} | {"TMPDIR": str(folder)}
        self.process = subprocess.Popen([sys.executable, SCRIPT, "--", *command], env=environment)

    def started(self, path: Path) -> None:
        """Wait until the command has written this file."""
        wait_until(path.exists, 240)

    def left(self) -> list[int]:
        """Processes that carry the mark of this run."""
        return list(marked(f"{MARK}={self.folder}/"))


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_a_signal_ends_it(tmp_path: Path, sign: signal.Signals) -> None:
    """Neither servers, nor what ran off into a session of its own, nor the files."""
    folder, ready = tmp_path / "servers", tmp_path / "ready"
    folder.mkdir()
    launched = Launched(folder, "sh", "-c", f"setsid sleep 600 & touch {ready}; sleep 600")
    launched.started(ready)
    assert len(launched.left()) >= 6  # RabbitMQ, epmd, Redis, PostgreSQL, the shell and its sleep
    launched.process.send_signal(sign)
    assert launched.process.wait(PATIENCE) == (-sign if sign == signal.SIGKILL else 128 + sign)
    wait_until(lambda: not launched.left(), PATIENCE)
    wait_until(lambda: not list(folder.iterdir()), PATIENCE)


def test_passes_on_the_exit_code_and_describes_the_servers(tmp_path: Path) -> None:
    """Three facts of one run, since a run takes seconds."""
    copy = tmp_path / "servers.json"
    launched = Launched(tmp_path, "sh", "-c", f'cp "${MARK}" {copy}; test -n "$AMQP_URL$POSTGRES_URL" && exit 7')
    assert launched.process.wait(280) == 7
    assert not launched.left()
    described: Mapping[str, object] = json.loads(copy.read_text())
    assert {"amqp_url", "redis_url", "rabbitmq_pid", "redis_pid", "redis_port", "node", "home"} <= set(described)
    assert {"postgres_url", "postgres_pid"} <= set(described)


def test_without_servers_says_in_one_line_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As an ordinary user of a machine that has none."""
    monkeypatch.setattr(servers, "missing", lambda: list(servers.PACKAGES))
    monkeypatch.setattr(servers, "can_install", lambda: False)
    monkeypatch.setattr(servers, "listen_to_signals", lambda: None)
    monkeypatch.delenv("AMQP_URL", raising=False)
    assert servers.main(["--", "true"]) == 2
    assert capfd.readouterr().err.splitlines() == [
        "Install rabbitmq-server, redis-server and postgresql first, "
        "or set AMQP_URL, REDIS_URL and POSTGRES_URL to servers of your own."
    ]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[PrivateRabbitMQ]:
    """A second broker, beside the one of this run."""
    server = PrivateRabbitMQ(tmp_path / "rabbitmq")
    server.start()
    yield server
    server.kill(epmd=True)


@pytest.mark.long
def test_a_broker_can_be_killed_and_comes_back_on_the_same_address(broker: PrivateRabbitMQ) -> None:
    """With its files, and reachable by rabbitmqctl."""
    broker.ctl("add_vhost", "kept")
    broker.kill()
    assert not broker.running
    broker.start()
    assert "kept" in broker.ctl("list_vhosts")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[PrivatePostgreSQL]:
    """A second PostgreSQL, beside the one of this run."""
    server = PrivatePostgreSQL(tmp_path)
    server.start()
    yield server
    server.kill()


def test_a_database_can_be_killed_and_comes_back_on_the_same_address(database: PrivatePostgreSQL) -> None:
    """With its files. It runs as a user of its own, in a folder that stays closed to others, and leaves no segment."""
    assert Path(f"/proc/{database.pid}").stat().st_uid != 0
    assert not database.folder.parent.stat().st_mode & 0o077 and not database.files.stat().st_mode & 0o077
    forked, segment = children_of(database.pid), shared_memory(database)
    assert forked and segment in segments()
    database.kill()
    assert not database.running and not any(is_alive(pid) for pid in forked)
    assert segment not in segments()
    database.start()
    with contextlib.closing(socket.create_connection(("127.0.0.1", database.port))):
        assert database.running


def test_installing_lets_no_package_make_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would start with the machine, on the port that everyone expects a PostgreSQL at."""
    switch = tmp_path / "createcluster.d" / "choros-tests.conf"
    monkeypatch.setattr(servers, "CLUSTERS", switch)
    with servers.no_cluster():
        assert switch.read_text() == "create_main_cluster = false\n"
    assert not switch.exists()


def shared_memory(server: PrivatePostgreSQL) -> str:
    """The segment that its lock file names."""
    return (server.files / "postmaster.pid").read_text().splitlines()[6].split()[1]


def segments() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()}
