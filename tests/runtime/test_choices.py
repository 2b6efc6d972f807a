"""Functions that choose, through the whole of it: handlers, replies, what is stored, checks and contracts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from choros import App, DeclarationError, DeclaredOtherwise, Done, MessageRejected, Refused, Service, running
from choros.app.contract import contract
from choros.desk.timeline import timeline
from choros.messages import Fact
from choros.runtime.client.parked import skippable
from choros.runtime.orchestrator.recognition import recognise
from choros.runtime.orchestrator.replies import judge
from choros.runtime.participant.operations import check_operation
from choros.saga.machine.inputs import Answered
from choros.saga.machine.instance import States
from choros.saga.machine.machine import begin, decide
from choros.store.sagas import Record
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope
from tests.saga.post import (
    EXPRESS,
    LETTER,
    MAIL,
    SAGA,
    LetterSent,
    MailSent,
    Order,
    RecallLetter,
    RecallMail,
    SendLetter,
    SendMail,
    Ship,
    ShipFast,
    Unwrap,
    Wrap,
    Wrapped,
)

RECALLS: dict[Any, Any] = {RecallMail: Done(), RecallLetter: Done()}
KEY = CommandKey("s1", "notify", 1, "do")


def office(said: list[str]) -> list[Service]:
    """The services of the saga; what they are told is noted. The plane never flies."""
    services = {name: Service(name) for name in ("post", "gifts", "carrier", "ears")}
    replies: dict[str, dict[Any, Any]] = {
        "post": {SendMail: MailSent(mail_id="m1"), SendLetter: LetterSent(stamp="s1"), **RECALLS},
        "gifts": {Wrap: Wrapped(paper="red"), Unwrap: Done()},
        "carrier": {Ship: Done(), ShipFast: None},
    }  # fmt: skip

    def handle(service: Service, command: Any, reply: Any) -> None:
        async def handler(command: Any) -> Any:
            said.append(type(command).__name__)
            if reply is None:
                raise Refused("no_plane")
            return reply

        handler.__annotations__ = {"command": command, "return": command.reply_type}
        service.handles(command)(handler)

    for name, commands in replies.items():
        for command, reply in commands.items():
            handle(services[name], command, reply)

    def hear(fact: type[Fact]) -> None:
        async def heard(fact: Any) -> None:
            said.append(type(fact).__name__)

        heard.__annotations__ = {"fact": fact, "return": None}
        services["ears"].on(fact)(heard)

    for fact in dict.fromkeys(SAGA.outline.facts):
        hear(fact)  # type: ignore[arg-type]  # the outline knows them as messages
    return list(services.values())


@pytest.mark.parametrize(
    ("order", "status", "told"),
    [
        (MAIL, "completed", ["SendMail", "Wrap", "Ship", "Planned", "Presented", "OverByMail"]),
        (LETTER, "completed", ["SendLetter", "Ship", "Planned", "Over"]),
        (EXPRESS, "compensated", ["SendLetter", "ShipFast", "RecallLetter"]),
    ],
    ids=["mail", "letter", "express"],
)
async def test_each_way_is_gone_to_its_end(order: Order, status: str, told: list[str]) -> None:
    said: list[str] = []
    async with running(App("shop", sagas=[SAGA], services=office(said))) as client:
        outcome = await client.run(SAGA, order)
        assert outcome.status == status
        while len(said) < len(told):
            await asyncio.sleep(0.01)
        shown = "\n".join(timeline(await client.show(outcome.saga_id), SAGA))
    assert sorted(said) == sorted(told)
    assert ("– wrap                 gifts" in shown) == (not order.present)
    assert ("passed over, nothing to do" in shown) == (not order.present)


# --- replies ----------------------------------------------------------------------------------------------------------


def reply(message: Any, operation: str = "do") -> Envelope:
    return Envelope(
        id="r1", kind="reply", type=message.type_name, source="/shop/post", time=0.0, data=message.to_json(),
        correlation_id="s1", causation_id="c1", key=f"s1:notify:1:{operation}", saga="post", saga_version=1,
        step="notify", attempt=1, outcome="ok",
    )  # fmt: skip


@pytest.mark.parametrize("message", [MailSent(mail_id="m1"), LetterSent(stamp="s1")], ids=["mail", "letter"])
def test_the_reply_to_any_of_them_may_come_and_says_which_it_is(message: Any) -> None:
    assert judge(SAGA, [1], reply(message)).kind is type(message)
    assert judge(SAGA, [1], reply(Done(), "undo")).kind is None
    with pytest.raises(MessageRejected, match=r"not of type mail-sent\.v1 or letter-sent\.v1"):
        judge(SAGA, [1], reply(Wrapped(paper="red")))


def test_an_operation_is_known_by_any_of_its_types() -> None:
    sagas = {("post", 1): SAGA}
    for message in (SendMail(to="a"), SendLetter(id="o")):
        check_operation(reply(message), KEY, sagas)
        with pytest.raises(MessageRejected, match="does not fit"):
            check_operation(reply(message), replace(KEY, operation="undo"), sagas)
    check_operation(reply(RecallLetter(id="o")), replace(KEY, operation="undo"), sagas)


# --- what is stored ---------------------------------------------------------------------------------------------------


def stored(order: Order, **state: Any) -> Record:
    instance = begin(SAGA.tree, "s1", order.to_json(), 0.0, cause="c").instance
    if "reply" in state:
        instance = decide(SAGA.tree, instance, [Answered("r", KEY, 1, "ok", state.pop("reply"))], 0.0).instance
    nodes = States({**instance.nodes, "notify": replace(instance.state("notify"), **state)})
    return Record(
        saga_id="s1", saga="post", saga_version=1, key="o1", digest="d", application="shop", version=1, transition="t",
        status="running", state=replace(instance, nodes=nodes).dumps(), started_at=0.0, updated_at=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "known"), [("send-letter", True), ("send-mail", False)], ids=["as it was chosen", "as another"]
)
def test_what_is_stored_is_read_as_what_was_chosen(choice: str, known: bool) -> None:
    for record in (stored(LETTER, choice=choice), stored(LETTER, choice=choice, reply='{"stamp":"s1"}')):
        if known:
            recognise({("post", 1): SAGA}, record)
        else:
            with pytest.raises(DeclaredOtherwise, match="cannot read what is stored"):
                recognise({("post", 1): SAGA}, record)


def test_a_person_who_skips_is_asked_for_the_reply_to_what_was_chosen() -> None:
    letter, mail = (begin(SAGA.tree, "s1", one.to_json(), 0.0, cause="c").instance for one in (LETTER, MAIL))
    assert skippable(SAGA, letter, "notify").reply is LetterSent
    assert skippable(SAGA, mail, "notify").reply is MailSent
    done = replace(mail, backward=True, nodes=States({"notify": replace(mail.state("notify"), progress="ok")}))
    assert skippable(SAGA, done, "notify").undo


# --- the application --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", [SendLetter, RecallMail, ShipFast])
def test_each_of_them_needs_a_handler(lacking: Any) -> None:
    declared: dict[str, list[Any]] = {
        "post": [SendMail, SendLetter, RecallMail, RecallLetter],
        "gifts": [Wrap, Unwrap],
        "carrier": [Ship, ShipFast],
    }
    services = [
        Service(name, commands=[one for one in commands if one is not lacking]) for name, commands in declared.items()
    ]
    with pytest.raises(
        DeclarationError, match=f"sends {lacking.__name__} to .*, which nobody there is declared to handle"
    ):
        App("shop", sagas=[SAGA], services=services)


def test_the_contract_says_of_each_by_which_step_it_is_sent() -> None:
    told = contract(App("shop", sagas=[SAGA], services=office([])))["services"]["post"]["commands"]
    sent = {"saga": "post", "version": 1, "step": "notify", "operation": "do"}
    assert told["send-mail.v1"]["sent"] == told["send-letter.v1"]["sent"] == [sent]
    assert list(told["send-letter.v1"]["ok"]) == ["letter-sent.v1"]
    assert told["recall-mail.v1"]["sent"] == [{**sent, "operation": "undo"}]
