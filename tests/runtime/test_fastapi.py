"""A front on FastAPI: it starts sagas, answers 202 with a location or waits so long, and says problems as problems."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI

from choros import (
    Addresses,
    App,
    Client,
    Command,
    Done,
    FactConflict,
    Message,
    Pivot,
    Saga,
    SagaNotFound,
    Service,
    StoreUnreachable,
    TokenUnknown,
    TooLate,
    UpdateRefused,
    UsageError,
    running,
)  # fmt: skip
from choros.fastapi import Front, Seconds
from choros.sources import saga_id_for
from choros.store.memory.sagas import MemoryStore
from tests.patience import PATIENCE


class Brew(Message):
    cup: str
    beans: int = 10


class Pour(Command[Done]):
    cup: str


def pour(brew: Brew) -> Pour:
    return Pour(cup=brew.cup)


coffee = Saga("coffee", start=Brew, key=lambda brew: brew.cup, steps=(Pivot(pour, to="bar"),))
poured = asyncio.Event()


def bar() -> App:
    service = Service("bar")

    @service.handles(Pour)
    async def pouring(command: Pour) -> Done:
        if command.cup == "slow":
            await poured.wait()
        return Done()

    return App("cafe", sagas=[coffee], services=[service])


RAISED: dict[str, Exception] = {
    "gone": SagaNotFound("nobody knows saga 7"),
    "late": TooLate("redis at 10.0.0.7"),
    "said": FactConflict("another fact"),
    "token": TokenUnknown("no such token"),
    "away": StoreUnreachable("redis at 10.0.0.7 is away"),
    "refused": UpdateRefused("no", code="too_late"),
    "mistake": UsageError("the operator's affair"),
}


@asynccontextmanager
async def opened(addresses: Addresses) -> AsyncIterator[httpx.AsyncClient]:
    front = Front(bar(), addresses)
    api = FastAPI(lifespan=front.lifespan)
    front.add_problems(api)

    @api.post("/cups", status_code=202)
    async def place(brew: Brew, client: Annotated[Client, Depends(front.client)], wait: Seconds = 0) -> Any:
        saga_id = await client.start(coffee, brew)
        return await front.answer(saga_id, location=f"/cups/{brew.cup}", wait=wait)

    @api.get("/raise/{what}")
    async def raising(what: str) -> None:
        raise RAISED[what]

    @api.post("/later/{cup}")
    async def later(cup: str, client: Annotated[Client, Depends(front.client)]) -> Any:
        """As with `start_in`, the saga is not there yet when it is asked about."""
        saga_id = coffee_id(cup)
        starting = asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(begin(client, cup)))
        try:
            return await front.answer(saga_id, location=f"/cups/{cup}", wait=30)
        finally:
            starting.cancel()

    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with api.router.lifespan_context(api), httpx.AsyncClient(transport=transport, base_url="http://cafe") as http:
        yield http


def coffee_id(cup: str) -> str:
    return saga_id_for(f"{bar().scope}.{coffee.name}", cup)


async def begin(client: Client, cup: str) -> None:
    await client.start(coffee, Brew(cup=cup))


@pytest.fixture
async def http(tmp_path: Path, namespace: str) -> AsyncIterator[httpx.AsyncClient]:
    addresses = Addresses(f"memory://{namespace}", f"sqlite:///{tmp_path}/sagas.db", "memory://")
    async with running(bar(), addresses), opened(addresses) as http:
        yield http


async def test_it_is_taken_at_once_and_says_where_to_ask(http: httpx.AsyncClient) -> None:
    taken = await http.post("/cups", json={"cup": "blue"})
    assert (taken.status_code, taken.headers["location"]) == (202, "/cups/blue")
    assert taken.json() == {"saga_id": coffee_id("blue")}


async def test_whoever_waits_hears_how_it_ended(http: httpx.AsyncClient) -> None:
    ended = await http.post("/cups?wait=60", json={"cup": "blue"})
    assert (ended.status_code, ended.json()["status"]) == (200, "completed")


async def test_what_takes_longer_is_taken_all_the_same(http: httpx.AsyncClient) -> None:
    poured.clear()
    taken = await http.post("/cups?wait=0.2", json={"cup": "slow"})
    poured.set()
    assert (taken.status_code, taken.headers["location"], "status" in taken.json()) == (202, "/cups/slow", False)


async def test_one_that_comes_a_moment_later_is_waited_for(http: httpx.AsyncClient) -> None:
    ended = await http.post("/later/red")
    assert (ended.status_code, ended.json()) == (200, {"saga_id": coffee_id("red"), "status": "completed"})


async def test_another_request_under_its_key_is_a_conflict(http: httpx.AsyncClient) -> None:
    await http.post("/cups", json={"cup": "blue"})
    conflict = await http.post("/cups", json={"cup": "blue", "beans": 11})
    assert (conflict.status_code, conflict.headers["content-type"]) == (409, "application/problem+json")
    assert conflict.json() == {"title": "Something else was asked for under this key.", "status": 409}


@pytest.mark.parametrize(
    ("what", "status"),
    [("gone", 404), ("said", 409), ("token", 404), ("late", 409), ("refused", 409), ("away", 503), ("mistake", 500)],
)
async def test_what_choros_raises_is_a_problem_that_names_no_server(
    http: httpx.AsyncClient, what: str, status: int
) -> None:
    answer = await http.get(f"/raise/{what}")
    assert answer.status_code == status
    assert "10.0.0.7" not in answer.text
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    if what == "refused":
        assert answer.json()["code"] == "too_late"


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "soon"])
async def test_nobody_waits_for_nonsense(http: httpx.AsyncClient, wait: str) -> None:
    assert (await http.post(f"/cups?wait={wait}", json={"cup": "blue"})).status_code == 422


async def test_a_front_that_is_not_open_says_so() -> None:
    with pytest.raises(UsageError, match=r"lifespan=front\.lifespan"):
        await Front(bar(), Addresses("memory://", "memory://", "memory://")).client()


@pytest.mark.parametrize("asked", ["commit", "load", "history"])
async def test_a_store_that_hangs_is_a_problem_soon(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    async def hangs(*_: object) -> Any:
        await asyncio.Event().wait()

    front = Front(bar(), Addresses("memory://", "memory://", "memory://"), patience=timedelta(seconds=5))
    api = FastAPI(lifespan=front.lifespan)
    front.add_problems(api)

    @api.post("/cups", status_code=202)
    async def brew(order: Brew, client: Annotated[Client, Depends(front.client)]) -> Any:
        return await front.answer(await client.start(coffee, order), location="/cups")

    @api.get("/cups/{saga_id}")
    async def look(saga_id: str, client: Annotated[Client, Depends(front.client)]) -> Any:
        return {"status": (await client.show(saga_id)).record.status}

    async with (
        front.lifespan(api),
        httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://bar") as http,
    ):
        saga_id = (await http.post("/cups", json={"cup": "c0"})).json()["saga_id"]
        assert (await http.get(f"/cups/{saga_id}")).json() == {"status": "running"}
        monkeypatch.setattr(MemoryStore, asked, hangs)
        async with asyncio.timeout(PATIENCE):
            if asked == "commit":
                said = await http.post("/cups", json={"cup": "c1"})
            else:
                said = await http.get(f"/cups/{saga_id}")
    assert (said.status_code, said.headers["content-type"]) == (503, "application/problem+json")
    assert "Ask again" in said.json()["title"]


async def test_it_tells_prometheus_of_the_sagas_that_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    front = Front(bar(), Addresses("memory://", "memory://", "memory://"))
    api = FastAPI(lifespan=front.lifespan)
    front.add_metrics(api)
    asgi = httpx.ASGITransport(api)
    async with front.lifespan(api), httpx.AsyncClient(transport=asgi, base_url="http://bar") as http:
        await (await front.client()).start(coffee, Brew(cup="c1"))
        said = await http.get("/metrics")
    assert said.headers["content-type"].startswith("text/plain")
    assert 'choros_sagas_started_total{saga="coffee"} 1.0' in said.text
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match=r"Front\.add_metrics needs the package prometheus_client"):
        front.add_metrics(api)


async def test_headers_that_cannot_be_passed_on_are_the_callers_mistake() -> None:
    front = Front(bar(), Addresses("memory://", "memory://", "memory://"))
    api = FastAPI(lifespan=front.lifespan)
    front.add_problems(api)

    @api.post("/cups", status_code=202)
    async def brew(order: Brew, client: Annotated[Client, Depends(front.client)], tenant: str) -> Any:
        return await client.with_headers({"tenant": tenant}).start(coffee, order)

    asgi = httpx.ASGITransport(api)
    async with front.lifespan(api), httpx.AsyncClient(transport=asgi, base_url="http://bar") as http:
        said = [await http.post("/cups", params={"tenant": one}, json={"cup": "c1"}) for one in ("acme", "x" * 600)]
    assert [one.status_code for one in said] == [202, 422]
    assert said[1].json()["title"] == "What the request says of itself cannot be passed on."
