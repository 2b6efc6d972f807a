"""A type of command is carried out under the operation and step that it is declared for, where that is known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from choros.app.app import App
from choros.app.service import Service
from choros.errors import MessageRejected, UsageError
from choros.messages import Close, Command, Done, Failure, Message
from choros.roles.addresses import Addresses
from choros.roles.roles import open_role
from choros.runtime.participant.operations import check_operation
from choros.saga.nodes import Branch, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope

from ..saga import shop
from .participant_stage import Stage, command, stage_for
from .stage import Stage as Desk
from .stage import refusal_of, reply_to, staged


class Take(Command[Done], name="charge"):
    order: str


class GiveBack(Command[Done], name="refund"):
    order: str


class Anything(Command[Done]):
    pass


def charge(order: shop.PlaceOrder) -> Take:
    return Take(order=order.order_id)


def refund(order: shop.PlaceOrder) -> GiveBack:
    return GiveBack(order=order.order_id)


def hold(order: shop.PlaceOrder) -> Anything:
    return Anything()


def free(order: shop.PlaceOrder) -> Anything:
    return Anything()


STEPS = Step(charge, to="payment", compensation=refund), Step(hold, to="payment", compensation=free)
SAGA = Saga("order", version=3, start=shop.PlaceOrder, steps=STEPS)
KNOWN = {("order", 3): SAGA}
WITHIN = {("order", 3): Saga("order", version=3, start=shop.PlaceOrder, steps=(Branch("outer", *STEPS),))}
FITS = {
    ("charge", "do", "charge"),
    ("charge", "undo", "refund"),
    ("hold", "do", "anything"),
    ("hold", "undo", "anything"),
}
"""Step, operation and type."""
MISFIT = "The type of the command does not fit the step and operation of its idempotency key."
TYPES = ("charge", "refund", "anything", "release")


def of(step: str, operation: str, type_name: str, **more: Any) -> Envelope:
    return command(Take(order="o"), type=type_name, key=f"s1:{step}:1:{operation}", step=step, **more)


def fits(envelope: Envelope, sagas: Any = KNOWN) -> bool:
    try:
        check_operation(envelope, CommandKey.parse(envelope.key), sagas)
    except MessageRejected as rejected:
        return rejected.sentence != MISFIT
    return True


@pytest.mark.parametrize(("step", "operation", "kind"), list(product(["charge", "hold"], ["do", "undo"], TYPES)))
def test_every_step_with_every_operation_and_type(step: str, operation: str, kind: str) -> None:
    """A type that the saga does not have, or has in another version, is another declaration's."""
    wanted = (step, operation, kind) in FITS or kind == "release"
    assert fits(of(step, operation, f"{kind}.v1")) is wanted
    assert fits(of(step, operation, f"{kind}.v2")) is wanted
    elsewhere = replace(of(step, operation, f"{kind}.v1"), key=f"s1:outer[2].{step}[7]:1:{operation}")
    assert fits(elsewhere) is (kind == "release" or any((operation, kind) == one[1:] for one in FITS)), "another step"
    within = replace(of(step, operation, f"{kind}.v1"), key=f"s1:outer.{step}:1:{operation}")
    assert fits(within, WITHIN) is wanted


@pytest.mark.parametrize(("operation", "kind"), list(product(["do", "undo"], ["charge", "refund"])))
def test_a_step_that_is_not_known_here_still_says_how_its_type_is_used(operation: str, kind: str) -> None:
    assert fits(of("renamed", operation, f"{kind}.v1")) is ((operation == "do") is (kind == "charge"))


def test_a_saga_that_is_not_known_here_is_believed() -> None:
    """Of another application, or of a version that comes here later."""
    mixed_up = of("charge", "do", "refund.v1")
    assert fits(replace(mixed_up, saga="other"))
    assert fits(replace(mixed_up, saga_version=4))
    assert fits(mixed_up, {})
    assert not fits(mixed_up)


def test_a_close_is_of_any_step() -> None:
    assert fits(of("charge", "close", Close.type_name))


def make_service() -> Service:
    service = Service("payment")

    @service.handles(Take)
    @service.handles(GiveBack)
    @service.handles(Anything)
    async def done(command: Message) -> Done:
        return Done()

    return service


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with stage_for(make_service(), sagas=KNOWN) as made:
        yield made


async def test_a_participant_parks_the_one_in_the_place_of_the_other(stage: Stage) -> None:
    await stage.send(command(GiveBack(order="o1"), "do"), command(Take(order="o1"), "undo"))
    (ok,) = await stage.ask(command(Take(order="o1")))
    (undone,) = await stage.ask(command(GiveBack(order="o1"), "undo"))
    assert (ok.outcome, undone.type) == ("ok", Done.type_name)
    assert stage.parked() == [MISFIT] * 2
    assert stage.counts == {"parked": 2, "ok": 2}


async def test_a_service_in_its_application_knows_its_sagas() -> None:
    """Whatever opens a role gives them to the participant."""
    app = App("shop", sagas=[SAGA], services=[make_service()])
    async with AsyncExitStack() as stack:
        parts: Any = await open_role(app, "service:payment", Addresses("memory://", database="memory://"), stack)
        assert [part._sagas for part in parts] == [app.sagas]


# --- skipping an undo -------------------------------------------------------------------------------------------------


async def parked_undo(desk: Desk, saga: Saga[Any]) -> tuple[Any, str]:
    """A saga whose undo of `charge_payment` has failed for good."""
    client = await desk.client()
    saga_id = await client.start(saga, shop.ORDER)
    await desk.carry_out("payment")
    await desk.answer(refusal_of(await desk.command("inventory"), "sold_out"))
    undo = await desk.command("payment")
    await desk.answer(reply_to(undo, Failure(code="Boom", kind="failed"), "failed"))
    assert (await client.wait(saga_id)).status == "parked"
    return client, saga_id


@pytest.mark.parametrize("reply", [None, Done()], ids=["nothing", "its own reply"])
async def test_an_undo_is_skipped_with_its_own_reply_or_none(reply: Done | None) -> None:
    saga = shop.make_order_saga(RetryPolicy(attempts=1, exhausted="park"))
    async with staged(saga) as desk:
        await desk.orchestrator()
        client, saga_id = await parked_undo(desk, saga)
        wanted = await client.skippable(saga_id, "charge_payment")
        assert (wanted.undo, wanted.reply) == (True, Done)
        with pytest.raises(UsageError, match="is not answered with PaymentCharged"):
            await client.skip(saga_id, "charge_payment", shop.CHARGED)
        assert await client.skip(saga_id, "charge_payment", reply) == "unparked"
        close = await desk.carry_out("payment")
        assert (close.type, Close.from_json(close.data).of) == ("choros.close.v1", "undo")
        assert (await client.wait(saga_id)).status == "compensated"


async def test_a_step_that_was_not_undone_needs_a_reply() -> None:
    saga = shop.make_order_saga(RetryPolicy(attempts=1, exhausted="park"))
    async with staged(saga) as desk:
        await desk.orchestrator()
        client = await desk.client()
        saga_id = await client.start(saga, shop.ORDER)
        await desk.answer(reply_to(await desk.command("payment"), Failure(code="Boom", kind="failed"), "failed"))
        assert (await client.wait(saga_id)).status == "parked"
        with pytest.raises(UsageError, match="is not answered with NoneType"):
            await client.skip(saga_id, "charge_payment")
        with pytest.raises(UsageError, match="commands no step 'pay'"):
            await client.skip(saga_id, "pay")
        assert not (await client.skippable(saga_id, "charge_payment")).undo
