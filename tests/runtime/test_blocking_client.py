"""A client for programs without `async`: what it does is what `Client` does, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from choros import (
    Addresses,
    App,
    BlockingClient,
    Client,
    Command,
    Done,
    Message,
    OutcomePending,
    Pivot,
    Reply,
    Saga,
    SagaNotFound,
    Service,
    Signal,
    StartConflict,
    Update,
    UsageError,
    Wait,
    blocking,
    client_of,
    running,
)
from tests.patience import PATIENCE
from tests.runtime.test_flow_identity import Placed, closing, flow_of, payment

SOON = timedelta(seconds=PATIENCE)


class Ask(Message, name="blocking.ask"):
    who: str
    for_: str = "bread"


class Give(Command[Done], name="blocking.give"):
    who: str


class Granted(Signal, name="blocking.granted"):
    by: str


def give(ask: Ask) -> Give:
    return Give(who=ask.who)


baker = Service("baker")


@baker.handles(Give)
async def hand_over(command: Give) -> Done:
    return Done()


given = Saga("given", start=Ask, key=lambda ask: ask.who, steps=(Pivot(give, to="baker"),))
asked = Saga(
    "asked",
    start=Ask,
    key=lambda ask: ask.who,
    steps=(Wait(Granted, within=timedelta(days=1), name="grant"), Pivot(give, to="baker")),
)
app = App("bakery", sagas=[given, asked], services=[baker])


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "choros-client"]


def test_it_starts_waits_asks_and_tells() -> None:
    with blocking(running(app)) as client:
        assert client.run(given, Ask(who="Ada"), timeout=SOON).status == "completed"
        saga_id = client.start(asked, Ask(who="Bob"))
        assert client.id_of("Bob") == saga_id
        with pytest.raises(OutcomePending):
            client.wait(saga_id, timeout=timedelta(milliseconds=1))
        assert client.query(saga_id).status == "running"
        assert client.signal(saga_id, Granted(by="Eve"), id="g1") in ("signalled", "kept")
        assert client.wait(saga_id, timeout=SOON).status == "completed"
        assert client.outcome(saga_id).status == "completed"
        other = client.start(asked, Ask(who="Cleo"))
        client.cancel(other)
        assert client.wait(other, timeout=SOON).status == "compensated"
    assert not threads(), "nothing is left behind"


def test_it_begins_with_headers_and_does_what_a_person_does_with_a_saga() -> None:
    with blocking(running(app)) as client:
        told = client.with_headers({"tenant": "acme"})
        saga_id, word = told.signal_or_start(asked, Ask(who="Dan"), Granted(by="Eve"))
        assert (word, told.wait(saga_id, timeout=SOON).status) == ("started", "completed")
        given_id = told.start(given, Ask(who="Fay"))
        assert told.wait(given_id, timeout=SOON).status == "completed"
        for act in (
            partial(client.retry, given_id),
            partial(client.skip, given_id, "give"),
            partial(client.rerun, given_id, "give"),
        ):
            with pytest.raises(UsageError):
                act()


def test_it_raises_what_the_client_raises_and_goes_on() -> None:
    with blocking(running(app)) as client:
        client.start(given, Ask(who="Ada"))
        with pytest.raises(StartConflict):
            client.start(given, Ask(who="Ada", for_="cake"))
        with pytest.raises(SagaNotFound):
            client.outcome("nobody")
        with pytest.raises(SagaNotFound):
            client.update("nobody", Wish(cake=True))
        assert client.wait(client.id_of("Ada"), timeout=SOON).status == "completed"


class Wished(Reply, name="blocking.wished"):
    cake: bool


class Wish(Update[Wished], name="blocking.wish"):
    cake: bool


def test_it_begins_a_flow() -> None:
    pay, orders = payment(), closing()
    flow = flow_of(1, pay, orders)
    with blocking(running(App("shop", services=(pay, orders), choreographies=(flow,)))) as client:
        first = client.begin(flow, Placed(order="o1"))
        assert client.begin(flow, Placed(order="o1")) == first
        assert client.begin(flow, Placed(order="o1"), run=2) != first


def test_threads_share_one() -> None:
    def bought(client: BlockingClient, who: int) -> object:
        return client.run(given, Ask(who=f"customer-{who}"), timeout=SOON).status

    with blocking(running(app)) as client, ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda who: bought(client, who), range(12))) == {"completed"}


def test_what_cannot_be_opened_is_raised_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "sagas.db").mkdir()
    addresses = Addresses("memory://", store=f"sqlite:///{tmp_path}/sagas.db")
    with pytest.raises(Exception, match=r"sagas\.db"), blocking(client_of(app, addresses)):
        raise AssertionError
    assert not threads()


def test_what_its_block_raises_passes_and_all_is_closed() -> None:
    closed: list[bool] = []

    @asynccontextmanager
    async def watched() -> AsyncIterator[Client]:
        async with running(app) as client:
            yield client
        closed.append(True)

    with pytest.raises(ZeroDivisionError), blocking(watched()):
        _ = 1 / 0
    assert closed == [True]
    assert not threads()


async def test_in_a_coroutine_it_is_refused() -> None:
    with pytest.raises(UsageError, match="within a running event loop"), blocking(running(app)):
        raise AssertionError
    assert not threads()


def test_a_client_that_is_used_in_a_coroutine_all_the_same_is_refused() -> None:
    with blocking(running(app)) as client:

        async def wrong() -> None:
            client.outcome("x")

        with pytest.raises(UsageError, match="within a running event loop"):
            asyncio.run(wrong())
