"""Updates to running sagas: answered once, on every store; and each answered as it was when it is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.desk.timeline import timeline
from choros.errors import (
    DeclaredOtherwise,
    MessageRejected,
    SagaNotFound,
    StoreMisconfigured,
    UpdateRefused,
    UsageError,
)
from choros.messages import Done, Update
from choros.runtime.client.client import Client
from choros.runtime.client.query import saga_state
from choros.runtime.client.rerun import _start as again_from
from choros.runtime.orchestrator.updates import entry_of
from choros.runtime.orchestrator.work import Work
from choros.saga.machine.inputs import PauseRequested, UpdateRequested
from choros.saga.machine.updates import MOST_UPDATES
from choros.store.memory.sagas import MemoryStore
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Committed, Store, Transition
from choros.store.sqlite.sagas import SqliteStore
from choros.transport.memory import MemoryBroker, MemoryTransport
from tests.saga.delivery import (
    STEPS,
    AddGift,
    AddressChanged,
    ChangeAddress,
    Order,
    Pack,
    PrintLabel,
    Ship,
    TearLabel,
    Thank,
    Unpack,
    change_address,
    delivery,
    delivery_of,
)
from tests.saga.driving import Run
from tests.saga.loan import AskForLoan, Booked, Decided, loan_saga
from tests.saga.shop import CHARGED, ORDER, SHIPPED
from tests.saga.test_result import SAGA as RESULT
from tests.saga.test_result import OrderResult

ELM, ASH = ChangeAddress(street="2 Elm Road"), ChangeAddress(street="3 Ash Way")
SERVICES = (
    Service("store", commands=(Pack, Unpack, PrintLabel, TearLabel, Thank)),
    Service("carrier", commands=(Ship,)),
)


def app_of(*sagas: Any) -> App:
    return App("shop", sagas=sagas or (delivery,), services=SERVICES)


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.servers)])
def store(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> Store:
    """Of each kind."""
    if request.param == "redis":
        return RedisStore(request.getfixturevalue("redis_url"), namespace)
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "sagas.db", namespace)


@pytest.fixture
async def client(store: Store) -> Any:
    """Of an application whose services are away: what is sent waits."""
    transport = MemoryTransport(MemoryBroker(), "shop")
    await store.open()
    await transport.connect()
    async with Client(app_of(), store=store, transport=transport) as client:
        yield client
    await transport.close()
    await store.close()


async def test_it_is_answered_once_and_asked_again_it_is_answered_as_before(client: Client, store: Store) -> None:
    saga_id = await client.start(delivery, Order())
    ann = client.signed("Ann", "she moves")
    for _ in range(2):
        assert await ann.update(saga_id, ELM, id="u1") == AddressChanged(extra=0)
    assert await ann.update(saga_id, ASH, id="u1") == AddressChanged(extra=0), "under this id it was another"
    for _ in range(2):
        with pytest.raises(UpdateRefused, match="refused as same_address: it goes there already") as no:
            await ann.update(saga_id, ChangeAddress(street="1 Oak Lane"), id="u2")
        assert no.value.code == "same_address"
    account = await client.show(saga_id)
    assert (account.instance.updates, dict(account.instance.updated)) == (2, {"change-address": ELM.to_json()})
    lines = "\n".join(timeline(account, delivery))
    assert "◆ change-address" in lines
    assert "accepted (update by Ann: she moves)" in lines
    assert "not accepted: same_address (update by Ann: she moves)" in lines
    async with client_on(store, app_of()) as again:  # a caller that has crashed before it heard the answer
        assert await again.update(saga_id, ELM, id="u1") == AddressChanged(extra=0)


async def test_two_at_once_under_one_id_are_one(client: Client) -> None:
    saga_id = await client.start(delivery, Order())
    once, again = await asyncio.gather(client.update(saga_id, ELM, id="u"), client.update(saga_id, ELM, id="u"))
    assert once == again == AddressChanged(extra=0)
    assert (await client.show(saga_id)).instance.updates == 1


@pytest.mark.parametrize(
    ("update", "id", "sentence"),
    [
        (type("CallMe", (Update[Done],), {})(), "", "saga 'delivery' answers no update 'call-me'"),
        (ELM, "\n", "An id has up to 200 printable characters."),
        (ELM, "x" * 201, "An id has up to 200 printable characters."),
    ],
)
async def test_mistakes_are_sentences(client: Client, update: Any, id: str, sentence: str) -> None:
    saga_id = await client.start(delivery, Order())
    with pytest.raises(UsageError) as error:
        await client.update(saga_id, update, id=id)
    assert sentence in error.value.sentence


async def test_an_id_stands_for_one_thing(client: Client) -> None:
    saga_id = await client.start(delivery, Order())
    await client.update(saga_id, ELM, id="u1")
    with pytest.raises(UsageError, match="The id 'u1' was that of change-address"):
        await client.update(saga_id, AddGift(gift="a pen"), id="u1")
    await client._ask(Work(saga_id, PauseRequested("u2")))
    with pytest.raises(UsageError, match="The id 'u2' was that of something else"):
        await client.update(saga_id, AddGift(gift="a pen"), id="u2")


async def test_before_the_saga_nobody_answers(client: Client) -> None:
    with pytest.raises(SagaNotFound):
        await client.update("nobody", ELM)


async def test_the_only_update_needs_no_name() -> None:
    one = delivery_of(STEPS[0], STEPS[1], STEPS[2], updates=(change_address,), completed=())
    async with client_on(MemoryStore(), app_of(one)) as client:
        saga_id = await client.start(one, Order())
        assert (await client.update_declared(saga_id)).update is ChangeAddress
        with pytest.raises(UsageError, match=r"answers no update 'change-adress'. Did you mean 'change-address'"):
            await client.update_declared(saga_id, "change-adress")
    async with client_on(MemoryStore(), app_of()) as client:
        saga_id = await client.start(delivery, Order())
        with pytest.raises(UsageError, match=r"answers 2 updates. Try: name one of change-address, add-gift"):
            await client.update_declared(saga_id)
    none = delivery_of(STEPS[0], updates=(), completed=())
    async with client_on(MemoryStore(), app_of(none)) as client:
        saga_id = await client.start(none, Order())
        with pytest.raises(UsageError, match="answers 0 updates"):
            await client.update_declared(saga_id)


@asynccontextmanager
async def client_on(store: Store, app: App) -> AsyncIterator[Client]:
    await store.open()
    async with Client(app, store=store, transport=MemoryTransport(MemoryBroker(), "shop")) as client:
        yield client


async def test_one_whose_version_answers_no_such_update() -> None:
    """The client has looked at another version than the one that the saga follows now."""
    app = app_of(delivery_of(STEPS[0], updates=(), completed=()))
    async with client_on(MemoryStore(), app) as client:
        saga_id = await client.start(app.saga("delivery"), Order())
        with pytest.raises(MessageRejected, match=r"answers no such update"):
            await client._ask(Work(saga_id, UpdateRequested("u", "change-address", ELM.to_json())))


async def test_no_more_than_so_many_are_answered() -> None:
    async with client_on(MemoryStore(), app_of()) as client:
        saga_id = await client.start(delivery, Order())
        await asyncio.gather(*(client.update(saga_id, ELM) for _ in range(MOST_UPDATES)))
        for _ in range(2):
            with pytest.raises(UpdateRefused, match="the saga has answered 256 updates") as no:
                await client.update(saga_id, ELM, id="one-more")
            assert no.value.code == "too_many"


async def test_what_is_kept_and_nobody_can_read_is_said() -> None:
    store = MemoryStore()
    async with client_on(store, app_of()) as client:
        saga_id = await client.start(delivery, Order())
        await client.update(saga_id, ELM, id="u1")
        store._rows.entries[saga_id][entry_of("u1")] = "{"
        with pytest.raises(StoreMisconfigured, match=r"An answer of saga .* cannot be read"):
            await client.update(saga_id, ELM, id="u1")


class OtherFirst(MemoryStore):
    """A store in which somebody else is faster, once."""

    def __init__(self) -> None:
        super().__init__()
        self.faster: Any = None

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        faster, self.faster = self.faster, None
        if faster:
            await faster()
        return await super().commit(batch)


async def test_at_a_conflict_it_is_judged_again() -> None:
    store = OtherFirst()
    async with client_on(store, app_of()) as one, client_on(store, app_of()) as other:
        saga_id = await one.start(delivery, Order())

        async def cancel() -> None:
            await other.cancel(saga_id)

        store.faster = cancel
        with pytest.raises(UpdateRefused, match="too_late: the saga is being undone"):
            await one.update(saga_id, ELM)
        assert (await one.show(saga_id)).instance.updated == ()


async def test_a_saga_that_is_run_again_goes_on_with_what_it_was_asked() -> None:
    async with client_on(MemoryStore(), app_of()) as client:
        saga_id = await client.start(delivery, Order())
        await client.update(saga_id, ELM)
        account = await client.show(saga_id)
        start = again_from(account.record, delivery.outline, account.instance, "print_label")
        done = await client._ask(Work("again", start))
        assert done.instance.updated == (("change-address", ELM.to_json()),)


async def test_a_program_reads_where_a_saga_stands(client: Client) -> None:
    saga_id = await client.start(delivery, Order())
    await client.update(saga_id, ELM)
    before = (await client.show(saga_id)).record.version
    state = await client.query(saga_id)
    assert (state.status, state.paused, state.start, state.failure, state.result) == (
        "running", False, Order(), None, None,
    )  # fmt: skip
    assert (dict(state.updates), dict(state.replies), dict(state.parked)) == ({"change-address": ELM}, {}, {})
    assert [(one.step, one.kind, one.sure, one.begun) for one in state.remaining] == [
        ("pack", "step", True, True), ("print_label", "step", True, False), ("ship", "pivot", True, False),
        ("thank", "retriable", False, False),
    ]  # fmt: skip
    assert (await client.show(saga_id)).record.version == before, "nothing was changed"
    with pytest.raises(SagaNotFound):
        await client.query("nobody")


async def test_nobody_reads_what_is_declared_otherwise() -> None:
    store = MemoryStore()
    async with client_on(store, app_of()) as client:
        saga_id = await client.start(delivery, Order())
    other = delivery_of(STEPS[0], updates=(), completed=())
    async with client_on(store, app_of(other)) as client:
        with pytest.raises(DeclaredOtherwise, match="1 step here, 4 in the record"):
            await client.query(saga_id)


def test_messages_are_read_as_what_they_are() -> None:
    run = Run(loan_saga, start=AskForLoan())
    run.ok(Booked())
    run.signal("decided", Decided())
    state = saga_state(loan_saga, run.instance)
    assert dict(state.replies) == {"set_aside": Booked(), "decided": Decided()}
    run.refuse("closed")
    assert (state := saga_state(loan_saga, run.instance)).failure
    assert [(one.step, one.kind) for one in state.remaining] == [("set_aside", "undo")]
    end = Run(RESULT, start=ORDER)
    end.ok(CHARGED)
    end.ok(SHIPPED)
    assert saga_state(RESULT, end.instance).result == OrderResult(order_id="o1", parcel="x1")
