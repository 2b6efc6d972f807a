"""What a role answers over HTTP: to a supervisor, and to Prometheus."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from choros import Addresses
from choros.errors import StoreUnreachable, UsageError
from choros.roles.http_face import HttpPlace, facing_http
from choros.roles.metrics import Metrics
from choros.roles.process import run_role
from choros.runtime.host.vitals import Vitals
from choros.sources import fresh_id, now
from choros.store.memory.sagas import MemoryStore
from choros.transport.health import HealthRecord
from choros.transport.port import Health
from choros.version import __version__
from tests.captured import capture_logs
from tests.desk import flow_app
from tests.patience import PATIENCE
from tests.promtool import promtool
from tests.runtime.participant_stage import Charge, command, eventually, make_service, stage_for
from tests.runtime.stage import staged
from tests.saga import shop

HERE = HttpPlace("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9100", HttpPlace("127.0.0.1", 9100)),
        ("[::1]:9100", HttpPlace("::1", 9100)),
        ("localhost:0", HttpPlace("localhost", 0)),
    ],
)
def test_a_place(text: str, place: HttpPlace) -> None:
    assert HttpPlace.read(text) == place
    assert str(place) == text


@pytest.mark.parametrize(
    "text", ["9100", ":9100", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:²", ""]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(UsageError, match="no place to listen at"):
        HttpPlace.read(text)


async def nothing() -> tuple[str, bytes]:
    return "text/plain", b""


async def test_where_nothing_can_listen_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = HttpPlace("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(UsageError, match=r"Nothing can listen at 127\.0\.0\.1:\d+: Address already in use"):
            async with facing_http(place, Vitals("all"), nothing):
                raise AssertionError
    with pytest.raises(UsageError, match=r"Nothing can listen at nowhere\.invalid:80"):
        async with facing_http(HttpPlace("nowhere.invalid", 80), Vitals("all"), nothing):
            raise AssertionError


async def test_without_its_packages_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UsageError, match=r"needs the package uvicorn.*pip install 'choros\[http\]'"):
        async with facing_http(HERE, Vitals("all"), nothing):
            raise AssertionError
    monkeypatch.delitem(sys.modules, "choros.roles.metrics")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match="needs the package prometheus_client"):
        await run_role(flow_app.app, "subscriber:payment", Addresses("memory://"), http=HERE)


def well(vitals: Vitals) -> Vitals:
    """As one whose broker and stores answer."""
    record = HealthRecord("store", subject="store")
    record.note("connected", "")
    vitals._store = record
    vitals.broker = lambda: Health("connected", now(), "")
    return vitals


@pytest.fixture
async def face() -> AsyncIterator[tuple[Vitals, httpx.AsyncClient]]:
    vitals = Vitals("service:payment")
    async with (
        facing_http(HERE, vitals, Metrics(flow_app.app, vitals)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        yield vitals, http


Face = tuple[Vitals, httpx.AsyncClient]


async def test_it_is_alive_before_it_is_ready_and_not_ready_once_it_is_stopping(face: Face) -> None:
    vitals, http = face
    assert (await http.get("/livez")).json() == {"status": "ok"}
    starting = await http.get("/readyz")
    assert starting.status_code == 503
    assert "the role is starting" in starting.json()["complaints"][0]
    well(vitals)
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert ready.json()["checks"] == {"broker": "connected", "store": "connected", "stopping": False}
    vitals.stopping = True
    stopping = await http.get("/readyz")
    assert (stopping.status_code, stopping.json()["complaints"]) == (503, ["It is stopping."])
    assert (await http.get("/livez")).status_code == 200, "a restart would help nobody"


async def test_a_look_takes_nothing_from_the_report(face: Face) -> None:
    vitals, http = face
    vitals._lag = 3.0
    await http.get("/readyz")
    assert "choros_event_loop_lag_seconds 3.0" in (await http.get("/metrics")).text
    assert vitals.report().loop_lag == 3.0
    assert vitals.report().loop_lag == 0.0


async def test_what_it_does_not_know(face: Face) -> None:
    _, http = face
    assert (await http.get("/")).status_code == 404
    refused = await http.post("/livez")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    head = await http.head("/livez")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0


def samples(text: str) -> dict[str, float]:
    """By name and labels, as they stand there."""
    families = list(text_string_to_metric_families(text))
    assert len({one.name for one in families}) == len(families)
    return {
        f"{one.name}{sorted(one.labels.items()) if one.labels else ''}": one.value
        for f in families
        for one in f.samples
    }


async def test_what_became_of_messages_is_counted_by_queue() -> None:
    async with stage_for(make_service()) as stage:
        stage.start()
        part = stage.runner
        await stage.send(command(Charge(order="o1")), command(Charge(order="o2", how="declined"), saga="s2"))
        await eventually(lambda: sum(part.counts.values()) == 2)
        part.counts["passed on"] = 4
        vitals = well(Vitals("service:payment"))
        vitals.receivers = [part]
        kind, text = await Metrics(flow_app.app, vitals)()
    assert kind.startswith("text/plain")
    found = samples(text.decode())
    at = "[('kind', 'command'), ('outcome', '%s'), ('queue', 'shop.payment')]"
    told = {
        outcome: found[f"choros_messages_consumed_total{at % outcome}"] for outcome in ("ok", "refused", "passed_on")
    }
    assert told == {"ok": 1, "refused": 1, "passed_on": 4}
    assert found["choros_publishing_unconfirmed_total[('queue', 'shop.payment')]"] == 0
    assert found["choros_broker_connected"] == found["choros_store_connected"] == 1
    assert any(__version__ in name for name in found if name.startswith("choros_build_info"))
    assert not any("created" in name for name in found)


async def test_sagas_that_have_not_ended_are_counted_and_left_out_where_the_store_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with staged() as stage:
        await stage.transport.declare(stage.app.topology)
        vitals = Vitals("orchestrator")
        vitals.receivers = [await stage.orchestrator()]
        client = await stage.client()
        await client.start(shop.order_saga, shop.PlaceOrder(order_id="o1", total=1))
        found = samples((await Metrics(flow_app.app, vitals)())[1].decode())
        assert found["choros_sagas_active[('saga', 'order'), ('status', 'running')]"] == 1
        assert found["choros_broker_connected"] == 0

        async def away(_: MemoryStore) -> Any:
            raise StoreUnreachable("It is away.")

        monkeypatch.setattr(MemoryStore, "counts", away)
        assert "choros_sagas_active" not in (await Metrics(flow_app.app, vitals)())[1].decode()


async def test_a_process_answers_for_as_long_as_it_runs(tmp_path: Path) -> None:
    stops: list[Callable[[], None]] = []
    begun = asyncio.Event()

    def told(stop: Callable[[], None], *_: object) -> None:
        stops.append(stop)
        begun.set()

    addresses = Addresses(f"memory://{fresh_id()}", database=f"sqlite:///{tmp_path}/{{service}}.db")
    with capture_logs() as logs:
        running = asyncio.create_task(run_role(flow_app.app, "subscriber:payment", addresses, http=HERE, begun=told))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
        (at,) = [entry["at"] for entry in logs if entry["event"] == "choros.http.listening"]
    async with httpx.AsyncClient(base_url=f"http://{at}") as http:
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/metrics")).status_code == 200
        stops[0]()
        async with asyncio.timeout(PATIENCE):
            await running
        with pytest.raises(httpx.ConnectError):
            await http.get("/livez")


async def test_prometheus_finds_nothing_wrong_with_it() -> None:
    async with staged() as stage, stage_for(make_service()) as other:
        await stage.transport.declare(stage.app.topology)
        part = other.runner
        part.counts["ok"] = 1
        vitals = well(Vitals("all"))
        vitals.unfinished["payment"] = now() - 60
        vitals.receivers = [await stage.orchestrator(), part]
        client = await stage.client()
        await client.start(shop.order_saga, shop.PlaceOrder(order_id="o1", total=1))
        _, text = await Metrics(flow_app.app, vitals)()
    assert text.count(b"# TYPE") == 21
    assert await asyncio.to_thread(promtool, "check", "metrics", given=text.decode()) == ""
