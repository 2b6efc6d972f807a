"""What is given with a refusal, on its way: checked where it is raised, kept by the barrier, read where declared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from choros import App, Service, running
from choros.errors import DeclaredOtherwise, MessageRejected
from choros.messages import Failure, refusal_with
from choros.runtime.orchestrator.recognition import recognise
from choros.runtime.orchestrator.replies import judge
from choros.saga.machine.inputs import Answered
from choros.saga.machine.machine import begin, decide
from choros.store.barrier import Database
from choros.store.memory.barrier import MemoryDatabase
from choros.store.sagas import Record
from choros.store.sqlite.barrier import SqliteDatabase
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope
from tests.captured import capture_logs
from tests.runtime.participant_stage import Stage, command, stage_for
from tests.saga.declined import LIMIT, SAGA, Buy, Declined, NotBought, NotServed, Paid, Pay, payment, post

GIVEN = refusal_with(Declined)(code="card_declined", detail="no cover", step="pay", data=Declined(limit=LIMIT))


# --- a participant ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    database: Database = MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "payment.db")
    async with stage_for(payment, database) as stage:
        yield stage


def asked(how: str, **more: Any) -> Envelope:
    return command(Pay(order="o1", how=how), key="s1:pay:1:do", step="pay", **more)


async def test_it_travels_in_the_reply_and_is_repeated_with_it(stage: Stage) -> None:
    refused, again = await stage.ask(asked("declined"), asked("declined", attempt=2))
    assert (refused.type, refused.outcome, refused.data) == ("choros.failure.v1", "refused", GIVEN.to_json())
    await stage.restart()
    (later,) = await stage.ask(asked("ok"))
    assert refused == again == later


async def test_a_refusal_without_it_is_as_ever(stage: Stage) -> None:
    (refused,) = await stage.ask(asked("closed"))
    assert refused.data == Failure(code="closed", step="pay").to_json()


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("without", "Pay was refused with card_declined and no data, not with Declined."),
        ("another", "Pay was refused with card_declined and NotServed, not with Declined."),
        ("undeclared", "Pay was refused with closed and Declined, not with no data."),
        ("no message", "Pay was refused with card_declined and dict, not with Declined."),
    ],
)
async def test_what_the_command_does_not_declare_is_no_answer(stage: Stage, how: str, sentence: str) -> None:
    with capture_logs() as logs:
        (failed,) = await stage.ask(asked(how))
    failure = Failure.from_json(failed.data)
    assert (failed.outcome, failure.code, failure.detail) == ("failed", "WrongReply", sentence)
    assert await stage.row(failed.key) is None
    assert "choros.command.failed" in {one["event"] for one in logs}
    assert "secret" not in repr(logs)
    assert str(LIMIT) not in repr(logs)


async def test_what_no_broker_would_take_is_a_failure(stage: Stage) -> None:
    (failed,) = await stage.ask(asked("huge"))
    assert (failed.outcome, Failure.from_json(failed.data).code) == ("failed", "ReplyTooLarge")
    assert await stage.row(failed.key) is None


# --- an orchestrator --------------------------------------------------------------------------------------------------


def refusal(data: str) -> Envelope:
    sent = asked("ok", saga_version=1)
    return replace(
        sent, kind="reply", type="choros.failure.v1", saga=SAGA.name, outcome="refused", source="", data=data
    )


@pytest.mark.parametrize(
    "body",
    [
        '{"code": "card_declined"}',  # a foreign participant may leave it out
        '{"code": "card_declined", "data": null}',
        '{"code": "closed", "data": {"until": "noon"}}',  # a newer one may know more than this declaration
        '{"code": "expired", "data": 7}',
    ],
)
def test_what_is_not_there_or_not_declared_is_none(body: str) -> None:
    answer = judge(SAGA, {1}, refusal(body))
    assert answer.refusal == ""
    assert Failure.from_json(answer.data).code == answer.code


def test_what_is_declared_is_read_as_its_type() -> None:
    answer = judge(SAGA, {1}, refusal(GIVEN.to_json()))
    assert (answer.refusal, answer.detail) == (Declined(limit=LIMIT).to_json(), "no cover")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('{"code": "card_declined", "data": {"limit": "much"}}', "no choros.failure.v1: data: decimal"),
        ('{"code": "card_declined", "data": {"limit": 1, "more": 2}}', "no choros.failure.v1: extra_forbidden"),
        ('{"code": "card_declined", "more": 2}', "no choros.failure.v1: extra_forbidden"),
    ],
)
def test_what_does_not_fit_is_rejected_as_every_reply_is(body: str, sentence: str) -> None:
    with pytest.raises(MessageRejected, match=sentence):
        judge(SAGA, {1}, refusal(body))


def test_a_failure_gives_nothing() -> None:
    with pytest.raises(MessageRejected, match="extra_forbidden"):
        judge(SAGA, {1}, replace(refusal(GIVEN.to_json()), outcome="failed"))


# --- what is stored ---------------------------------------------------------------------------------------------------


def undoing(given: str) -> Record:
    """A saga whose pivot was refused with this, and whose payment is being given back."""
    paid = Answered("r1", CommandKey("s1", "pay", 1, "do"), 1, "ok", Paid(payment="p").to_json())
    failure = Failure(code="not_served").to_json()
    refused = Answered("r2", CommandKey("s1", "send", 1, "do"), 1, "refused", failure, "not_served", given)
    instance = begin(SAGA.tree, "s1", Buy(order="o1").to_json(), 0.0, cause="c").instance
    for answer in (paid, refused):
        instance = decide(SAGA.tree, instance, [answer], 0.0).instance
    assert instance.status == "compensating"
    return Record(
        saga_id="s1", saga=SAGA.name, saga_version=1, key="k", digest="d", application="shop", version=1,
        transition="t", status=instance.status, state=instance.dumps(), started_at=0.0, updated_at=0.0,
        fingerprint=SAGA.fingerprint.hash,
    )  # fmt: skip


def test_a_stored_one_that_no_class_reads_any_more_is_left_to_those_that_do() -> None:
    sagas = {(SAGA.name, 1): SAGA}
    assert recognise(sagas, undoing(NotServed(street="Elm Street").to_json()))
    with pytest.raises(DeclaredOtherwise, match="cannot read what is stored"):
        recognise(sagas, undoing('{"avenue": "Fifth"}'))


def test_it_lies_beside_the_failure_which_every_choros_reads() -> None:
    state = json.loads(undoing(NotServed(street="x").to_json()).state)
    assert state["refusal"] == '{"street":"x"}'
    assert Failure.from_json(state["failure"]).code == "not_served"


# --- all of it --------------------------------------------------------------------------------------------------------


async def test_the_closing_fact_says_what_the_handler_gave_and_no_log_does() -> None:
    listener, heard = Service("listener"), asyncio.Queue[NotBought]()

    @listener.on(NotBought)
    async def hear(fact: NotBought) -> None:
        heard.put_nowait(fact)

    with capture_logs() as logs:
        async with running(App("shop", sagas=[SAGA], services=[payment, post, listener])) as client:
            await client.run(SAGA, Buy(order="Elm Street"))
            assert await heard.get() == NotBought(order="Elm Street", code="not_served", street="Elm Street")
            await client.run(SAGA, Buy(order="o2", how="declined"))
            assert await heard.get() == NotBought(order="o2", code="card_declined", limit=LIMIT)
    assert logs
    assert "Elm Street" not in repr(logs).replace("'subject': 'Elm Street'", "")
    assert str(LIMIT) not in repr(logs)
