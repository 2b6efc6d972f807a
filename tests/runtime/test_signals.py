"""Signals to running sagas: taken once, whoever decides; kept when early; each answered as it was when asked again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.cli.waits import as_data, waiting_lines
from choros.desk.awaited import untold
from choros.desk.open_waits import open_waits
from choros.desk.timeline import timeline
from choros.errors import MessageRejected, SagaNotFound, StartConflict, UsageError
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.work import Work
from choros.saga.machine.inputs import SignalRequested
from choros.saga.nodes import ForEach, Pivot, Repeat, Wait
from choros.store.memory.sagas import MemoryStore
from choros.transport.memory import MemoryBroker, MemoryTransport
from tests.patience import PATIENCE
from tests.saga.loan import (
    PAY_OUT,
    SET_ASIDE,
    Archive,
    AskForLoan,
    Countersigned,
    Decided,
    GiveBack,
    PayOut,
    SetAside,
    make_loan,
    officers,
    ship,
    yes,
)

DAY = timedelta(days=1)
LOAN = AskForLoan()


def loans(*steps: Any) -> App:
    bank = Service("bank", commands=(SetAside, GiveBack, PayOut, Archive))
    return App(
        "loans", sagas=(make_loan(*steps, key=number),), services=(bank, Service("archive", commands=(Archive,)))
    )


def number(loan: AskForLoan) -> str:
    return loan.loan


@pytest.fixture
async def client() -> Any:
    """Of an application whose services are away: what is sent waits."""
    store, transport = MemoryStore(), MemoryTransport(MemoryBroker(), "loans")
    await store.open()
    await transport.connect()
    async with Client(loans(), store=store, transport=transport) as client:
        yield client
    await transport.close()


async def test_what_comes_early_is_kept_and_asked_again_it_is_answered_as_before(client: Client) -> None:
    saga_id = await client.start(loans_saga(client), LOAN)
    ann = client.signed("Ann", "good for it")
    for _ in range(2):
        assert await ann.signal(saga_id, Decided(), id="d1") == "kept"
    assert await ann.signal(saga_id, Decided(by="Eve"), id="d2") == "too_late"
    assert await ann.signal(saga_id, Decided(by="Eve"), id="d2") == "too_late"
    account = await client.show(saga_id)
    assert account.instance.early == (("decided", Decided().to_json()),)
    lines = list(timeline(account, loans_saga(client)))
    assert any("told early, kept (signal by Ann: good for it)" in line for line in lines)


def loans_saga(client: Client) -> Any:
    return client._app.saga("loan")


async def test_a_start_and_what_it_is_told_are_one(client: Client) -> None:
    saga, ann = loans_saga(client), client.signed("Ann")
    saga_id, word = await ann.signal_or_start(saga, LOAN, Decided(), id="d1")
    assert word == "started"
    assert (await client.show(saga_id)).instance.early == (("decided", Decided().to_json()),)
    assert await ann.signal_or_start(saga, LOAN, Decided(), id="d1") == (saga_id, "kept")
    assert await ann.signal_or_start(saga, LOAN, Countersigned(), id="c1") == (saga_id, "kept")
    assert [path for path, _ in (await client.show(saga_id)).instance.early] == ["decided", "countersigned"]
    with pytest.raises(StartConflict):
        await ann.signal_or_start(saga, AskForLoan(days=4), Decided())


async def test_two_that_start_it_at_once_are_both_heard(client: Client) -> None:
    saga, ann = loans_saga(client), client.signed("Ann")
    both = await asyncio.gather(
        ann.signal_or_start(saga, LOAN, Decided(), id="d1"), ann.signal_or_start(saga, LOAN, Countersigned(), id="c1")
    )
    assert sorted(word for _, word in both) == ["kept", "started"]
    assert len((await client.show(both[0][0])).instance.early) == 2


@pytest.mark.parametrize(
    ("signal", "wait", "sentence"),
    [
        (Decided(), "", "decided is for officer to say, and nobody signs."),
        (Decided(), "countersigned", "countersigned of saga 'loan' waits for Countersigned, not Decided."),
        (Countersigned(), "countersign", "saga 'loan' has no wait 'countersign'. Did you mean 'countersigned'?"),
        (Countersigned(), "set_aside", "saga 'loan' has no wait 'set_aside'."),
    ],
)
async def test_mistakes_are_sentences(client: Client, signal: Any, wait: str, sentence: str) -> None:
    saga_id = await client.start(loans_saga(client), LOAN)
    with pytest.raises(UsageError) as error:
        await client.signal(saga_id, signal, wait=wait)
    assert sentence in f"{error.value}"


async def test_a_signal_to_nobody(client: Client) -> None:
    with pytest.raises(SagaNotFound):
        await client.signed("Ann").signal("nobody", Decided())


async def test_an_item_has_to_be_named_and_a_time_has_not() -> None:
    each = ForEach(officers, Wait(Countersigned, within=DAY), name="officers")
    again = Repeat(Wait(Decided, within=DAY), until=yes, at_most=3, name="ask")
    app = loans(SET_ASIDE, each, again, Pivot(ship, to="bank"))
    store, transport = MemoryStore(), MemoryTransport(MemoryBroker(), "loans")
    await store.open()
    async with Client(app, store=store, transport=transport) as client:
        saga_id = await client.start(app.saga("loan"), LOAN)
        with pytest.raises(UsageError, match=r"stands in each item of officers.*officers\[0\].countersigned"):
            await client.signal(saga_id, Countersigned())
        assert await client.signal(saga_id, Countersigned(), wait="officers[1].countersigned") == "kept"
        assert await client.signal(saga_id, Decided()) == "kept"
        assert [path for path, _ in (await client.show(saga_id)).instance.early] == [
            "officers[1].countersigned",
            "ask[0].decided",
        ]


async def test_two_waits_for_the_same_have_to_be_told_apart() -> None:
    twice = loans(SET_ASIDE, Wait(Decided, within=DAY), Wait(Decided, within=DAY, name="again"), Pivot(ship, to="bank"))
    store, transport = MemoryStore(), MemoryTransport(MemoryBroker(), "loans")
    await store.open()
    async with Client(twice, store=store, transport=transport) as client:
        saga_id = await client.start(twice.saga("loan"), LOAN)
        with pytest.raises(UsageError, match="name one of decided, again"):
            await client.signal(saga_id, Decided())
        with pytest.raises(UsageError, match="Nothing in saga 'loan' waits for Countersigned"):
            await client.signal(saga_id, Countersigned())
        assert await client.signal(saga_id, Decided(), wait="again") == "kept"


async def test_one_whose_version_has_no_such_wait_takes_nothing() -> None:
    """The client has looked at another version than the one that the saga was begun with."""
    app = loans(SET_ASIDE, PAY_OUT_BLIND)
    store, transport = MemoryStore(), MemoryTransport(MemoryBroker(), "loans")
    await store.open()
    async with Client(app, store=store, transport=transport) as client:
        saga_id = await client.start(app.saga("loan"), LOAN)
        with pytest.raises(MessageRejected, match="names no wait of this saga"):
            await client._answered(Work(saga_id, SignalRequested("s", "decided", Decided().to_json())))


PAY_OUT_BLIND = Pivot(ship, to="bank")


async def test_a_person_reads_that_it_waits_to_be_told(client: Client) -> None:
    app = loans(Wait(Decided, within=DAY), SET_ASIDE, PAY_OUT)
    store, transport = MemoryStore(), MemoryTransport(MemoryBroker(), "loans")
    store.now = lambda: 0.0  # type: ignore[method-assign]
    await store.open()
    async with Client(app, store=store, transport=transport) as one:
        saga_id = await one.start(app.saga("loan"), LOAN)
        account = await one.show(saga_id)
        assert untold(account.instance) == [("decided", 86_400.0)]
        assert waiting_lines("loans", "memory://", account.record, account.instance, None, 0.0) == [
            "waits to be told at decided until 1970-01-02T00:00:00Z, 1d from now",
            "  Try: choros saga signal loans l1 --store memory://",
        ]
        assert as_data(None, account.instance) == {
            "signals": [{"wait": "decided", "until": "1970-01-02T00:00:00.000000Z"}]
        }
        assert any("waits for 1 day, 0:00:00 at most" in line for line in timeline(account, app.saga("loan")))
        assert await one.signal(saga_id, Decided(), id="once") == "signalled"
        assert await one.signal(saga_id, Decided(), id="once") == "signalled"
        async with asyncio.timeout(PATIENCE):
            assert (await one.outcome(saga_id)).status == "running"


async def test_what_waits_is_found_by_whose_it_is_to_say() -> None:
    app = loans(Wait(Decided, within=2 * DAY, by="officer"), SET_ASIDE, Wait(Countersigned, within=DAY), PAY_OUT)
    store, transport = MemoryStore(), MemoryTransport(MemoryBroker(), "loans")
    await store.open()
    async with Client(app, store=store, transport=transport) as client:
        ids = [await client.start(app.saga("loan"), AskForLoan(loan=f"l{number}")) for number in range(3)]
        found, more = await open_waits(app.sagas, store, "officer", limit=2)
        assert (len(found), more) == (2, True)
        assert {(one.path, one.signal, one.by) for one in found} == {("decided", "decided.v1", "officer")}
        assert await open_waits(app.sagas, store, "clerk") == ([], False)
        assert [one.path for one in (await open_waits(app.sagas, store))[0]] == ["decided"] * 3
        assert [one.signal for one in (await open_waits({}, store))[0]] == [""] * 3
        await client.signed("Ann").signal(ids[0], Decided())
        await client.cancel(ids[1])
        assert [one.record.saga_id for one in (await open_waits(app.sagas, store))[0]] == [ids[2]]
        assert await store.labelled("waits:officer") == [ids[2]]
