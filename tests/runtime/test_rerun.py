"""Rule 2 on a store: taken over once, whatever crashes in between, and undone under the original keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from choros.errors import StoreUnreachable, UsageError
from choros.messages import Failure
from choros.runtime.client.client import Client
from choros.saga.machine.instance import Instance
from choros.saga.policy import RetryPolicy
from choros.store.sagas import Committed, Transition
from tests.patience import PATIENCE
from tests.runtime.participant_stage import Charge, Refund, command, make_service, stage_for
from tests.runtime.stage import Stage, refusal_of, reply_to, staged

from ..saga import shop

ONCE = RetryPolicy(attempts=1, exhausted="park")
SAGA = shop.make_order_saga(ONCE)


async def skipped_pivot(stage: Stage, client: Client) -> str:
    """An order that is completed, though its parcel was closed by a person."""
    saga_id = await client.start(SAGA, shop.ORDER)
    await stage.carry_out("payment")
    await stage.carry_out("inventory")
    ship = await stage.command("shipping")
    await stage.answer(reply_to(ship, Failure(code="Boom", kind="failed"), "failed"))
    assert (await client.wait(saga_id)).status == "parked"
    await client.skip(saga_id, "ship_order", shop.SHIPPED)
    await stage.carry_out("shipping")
    assert (await client.wait(saga_id)).status == "completed"
    return saga_id


async def test_rule_2_the_new_one_undoes_the_old_ones_effects_under_their_keys() -> None:
    async with staged(SAGA) as stage:
        await stage.orchestrator()
        client = await stage.client()
        old = await skipped_pivot(stage, client)
        new = await client.rerun(old, "ship_order")
        ship = await stage.command("shipping")
        assert (ship.key, ship.correlation_id, ship.subject) == (f"{new}:ship_order:1:do", new, "o1")
        await stage.answer(refusal_of(ship, "no_such_address"))
        release = await stage.carry_out("inventory")
        assert (release.key, release.correlation_id) == (f"{old}:reserve_inventory:1:undo", new)
        refund = await stage.carry_out("payment")
        assert refund.key == f"{old}:charge_payment:1:undo"
        assert (await client.wait(new)).status == "compensated"
        assert (await client.outcome(old)).status == "completed"


async def test_rule_2_the_same_request_again_is_the_same_instance_and_another_is_refused() -> None:
    async with staged(SAGA) as stage:
        await stage.orchestrator()
        client, other = await stage.client(), await stage.client()
        old = await skipped_pivot(stage, client)
        first, second = await asyncio.gather(client.rerun(old, "ship_order"), other.rerun(old, "ship_order"))
        assert first == second == await client.rerun(old, "ship_order")
        assert (await stage.command("shipping")).key == f"{first}:ship_order:1:do"
        await stage.nothing("shop.shipping")
        with pytest.raises(UsageError, match=f"run again from ship_order, as {first}"):
            await client.rerun(old, "charge_payment")


async def test_rule_2_a_crash_between_the_two_commits_leaves_nothing_that_a_repeat_does_not_finish() -> None:
    async with staged(SAGA) as stage:
        await stage.orchestrator()
        client = await stage.client()
        old = await skipped_pivot(stage, client)
        commit, count = stage.store.commit, 0

        async def dies(batch: Sequence[Transition]) -> Sequence[Committed]:
            nonlocal count
            count += len(batch)
            if any(transition.record.version == 1 for transition in batch):
                raise StoreUnreachable("It is away.")
            return await commit(batch)

        stage.store.commit = dies  # type: ignore[method-assign]
        rerunning = asyncio.create_task(client.rerun(old, "ship_order"))
        async with asyncio.timeout(PATIENCE):
            while count < 2:  # the old one has noted its successor, which cannot begin
                await asyncio.sleep(0.01)
        rerunning.cancel()
        stage.store.commit = commit  # type: ignore[method-assign]
        (record, *_) = [loaded.record for loaded in (await stage.store.load([old])).values()]
        assert Instance.loads(record.state).successor
        new = await (await stage.client()).rerun(old, "ship_order")
        assert (await stage.command("shipping")).key == f"{new}:ship_order:1:do"
        await stage.nothing("shop.shipping")


@pytest.mark.parametrize(
    ("step", "words"), [("charge_payment", "still stands"), ("nowhere", "commands no step"), ("ship_order", "")]
)
async def test_what_cannot_be_run_again_is_refused_with_a_sentence(step: str, words: str) -> None:
    async with staged(SAGA) as stage:
        await stage.orchestrator()
        client = await stage.client()
        old = await skipped_pivot(stage, client)
        if words:
            with pytest.raises(UsageError, match=words):
                await client.rerun(old, step)
            return
        running = await client.start(SAGA, shop.PlaceOrder(order_id="o2", total=1))
        with pytest.raises(UsageError, match="running"):
            await client.rerun(running, step)


async def test_a_saga_of_a_version_that_nobody_knows_is_refused() -> None:
    async with staged(SAGA) as stage:
        await stage.orchestrator()
        client = await stage.client()
        old = await skipped_pivot(stage, client)
        client._app.sagas = {}
        with pytest.raises(UsageError, match="does not know saga 'order'"):
            await client.rerun(old, "ship_order")


async def test_rule_2_a_participant_undoes_for_the_saga_that_has_taken_over() -> None:
    async with stage_for(make_service()) as stage:
        do = command(Charge(order="o1"))
        await stage.ask(do)
        undo = command(Refund(order="o1"), "undo", correlation_id="s2")
        assert undo.key.rsplit(":", 1)[0] == do.key.rsplit(":", 1)[0]
        (reply,) = await stage.ask(undo)
        assert (reply.outcome, reply.correlation_id, reply.key) == ("ok", "s2", undo.key)
        assert await stage.effects() == {"o1": 0} or not await stage.effects()
