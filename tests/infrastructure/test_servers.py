"""tests/servers.py leaves nothing behind, whatever ends it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests import servers
from tests.patience import PATIENCE
from tests.servers import MARK, PrivateRabbitMQ, marked, missing

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
    assert len(launched.left()) >= 5  # RabbitMQ, epmd, Redis, the shell and its sleep
    launched.process.send_signal(sign)
    assert launched.process.wait(PATIENCE) == (-sign if sign == signal.SIGKILL else 128 + sign)
    wait_until(lambda: not launched.left(), PATIENCE)
    wait_until(lambda: not list(folder.iterdir()), PATIENCE)


def test_passes_on_the_exit_code_and_describes_the_servers(tmp_path: Path) -> None:
    """Three facts of one run, since a run takes seconds."""
    copy = tmp_path / "servers.json"
    launched = Launched(tmp_path, "sh", "-c", f'cp "${MARK}" {copy}; test -n "$AMQP_URL" && exit 7')
    assert launched.process.wait(280) == 7
    assert not launched.left()
    described: Mapping[str, object] = json.loads(copy.read_text())
    assert {"amqp_url", "redis_url", "rabbitmq_pid", "redis_pid", "redis_port", "node", "home"} <= set(described)


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
        "Install rabbitmq-server and redis-server first, or set AMQP_URL and REDIS_URL to servers of your own."
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
