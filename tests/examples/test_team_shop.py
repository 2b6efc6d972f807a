"""The team's shop, copied elsewhere: what its page says, on RabbitMQ, Redis and PostgreSQL, with the wheel alone."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.docs.test_outside import asked, typed
from tests.docs.test_readme import ROOT
from tests.end_to_end.shop import until
from tests.private_servers import die_with_parent

pytestmark = [pytest.mark.long, pytest.mark.servers]
SHOP = ROOT / "examples" / "team_shop"
INSTALLED, STARTED = re.findall(r"^```sh\n(.*?)^```$", (SHOP / "README.md").read_text(), re.DOTALL | re.MULTILINE)
ASKED = re.findall(r"-d '(\{.*?\})'", (SHOP / "README.md").read_text())
TENANTS: tuple[dict[str, str], ...] = ({"x-tenant": "acme"}, {})
DATABASES = ("payment", "shipping", "front")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it, with everything installed and looked at by the page's own lines."""
    outside = tmp_path_factory.mktemp("team")
    typed(f"{sys.executable} -m pip wheel --quiet --no-deps --wheel-dir . {ROOT}", outside)
    (wheel,) = outside.glob("choros-*.whl")
    shutil.copytree(SHOP, outside / "shop", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for line in INSTALLED.splitlines():
        extras = f"{wheel}[api,http,sqlalchemy,postgres]"
        typed(line.replace("python3", sys.executable), outside / "shop", CHOROS=extras)
    return outside / "shop"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@pytest.fixture
async def environment(postgres_url: str, amqp_url: str, redis_url: str, namespace: str) -> Any:
    """Three databases of its own, and where everything is."""
    connection = await asyncpg.connect(postgres_url)
    for name in DATABASES:
        await connection.execute(f'CREATE DATABASE "{namespace}_{name}"')
    there = {f"{name.upper()}_DB": f"{postgres_url.rpartition('/')[0]}/{namespace}_{name}" for name in DATABASES}
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "POSTGRES_URL")}
    yield {**kept, **there, "AMQP_URL": amqp_url, "REDIS_URL": redis_url, "CHOROS_NAMESPACE": namespace}
    for name in DATABASES:
        await connection.execute(f'DROP DATABASE "{namespace}_{name}" WITH (FORCE)')
    await connection.close()


class Processes:
    """All that the page starts, each by its own line."""

    def __init__(self, lines: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self.running = {line: self._start(line) for line in lines}

    def _start(self, line: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                ["bash", "-c", f"exec {line.removesuffix(' &')}"], cwd=self._folder, env=self._environment,
                stdout=log, stderr=log, preexec_fn=die_with_parent,
            )  # fmt: skip

    def kill(self, words: str) -> None:
        """kill -9, and start it again."""
        (line,) = [line for line in self.running if words in line]
        self.running[line].kill()
        self.running[line].wait()
        self.running[line] = self._start(line)

    def close(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.wait(60)


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def processes(shop: Path, environment: dict[str, str], ports: tuple[int, int]) -> Iterator[Processes]:
    front, carrier = map(str, ports)
    script = STARTED.replace("--port 8000", f"--port {front}").replace("--port 8001", f"--port {carrier}")
    made = [line for line in script.splitlines() if "alembic" in line]
    for line in made:
        typed(line, shop, **environment)
    environment |= {
        "CHOROS_BROKER": environment["AMQP_URL"], "CHOROS_STORE": environment["REDIS_URL"],
        "CARRIER_URL": f"http://127.0.0.1:{carrier}",
    }  # fmt: skip
    started = Processes([line for line in script.splitlines() if line.endswith(" &")], shop, environment)
    yield started
    started.close()


async def up(port: int) -> bool:
    with socket.socket() as front:
        return front.connect_ex(("127.0.0.1", port)) == 0


def told(port: int) -> str:
    """What Prometheus reads there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as metrics:
        return str(metrics.read().decode())


async def rows(environment: dict[str, str], name: str, query: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(environment[f"{name.upper()}_DB"])
    found = [tuple(row) for row in await connection.fetch(query)]
    await connection.close()
    return found


async def test_its_orders_end_as_its_page_says_and_are_booked_once_though_it_is_killed(
    processes: Processes, environment: dict[str, str], ports: tuple[int, int]
) -> None:
    front = f"http://127.0.0.1:{ports[0]}/orders"
    await until("the front is there", lambda: up(ports[0]))
    await until("the carrier is there", lambda: up(ports[1]))

    first, second = (asked(f"{front}?wait=30", body, **said) for body, said in zip(ASKED, TENANTS, strict=True))
    assert (first["status"], second["status"]) == ("completed", "compensated")
    assert asked(f"{front}/o1") == {"order_id": "o1", "status": "completed"}

    many = [f'{{"order_id": "m{n}", "customer": "c{n}", "amount": 1, "address": "Delphi"}}' for n in range(12)]
    for body in many:
        asked(front, body)
    processes.kill("service:payment")
    processes.kill("--role starts")
    for body in many:  # a customer who asks twice
        asked(front, body)
    processes.kill("service:shipping")

    async def over() -> bool:
        sent = await rows(environment, "shipping", "SELECT order_id FROM parcel ORDER BY 1")
        return sorted(order for (order,) in sent) == sorted(["o1", *(f"m{n}" for n in range(12))])

    await until("every parcel is noted", over)
    assert await rows(environment, "payment", "SELECT credit FROM account WHERE customer = 'ada'") == [(60,)]
    assert await rows(environment, "payment", "SELECT count(*), sum(amount) FROM charge") == [(13, 52)]
    assert await rows(environment, "front", "SELECT count(*) FROM customer_order") == [(14,)]
    assert await rows(environment, "shipping", "SELECT order_id FROM parcel WHERE tenant = 'acme'") == [("o1",)]
    assert "# TYPE choros_sagas_started_total counter" in told(ports[0])


def test_the_page_asks_for_what_its_processes_take() -> None:
    assert len(ASKED) == 2
    assert '-H \'x-tenant: acme\' -d \'{"order_id": "o1"' in (SHOP / "README.md").read_text()
    assert {shlex.split(line)[0] for line in STARTED.splitlines() if line.endswith("&")} == {
        ".venv/bin/uvicorn", ".venv/bin/choros"
    }  # fmt: skip
