"""An early answer: what a step has replied, as soon as that is committed, while the saga goes on behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from choros.errors import OutcomePending, UsageError
from choros.runtime.client import query
from choros.runtime.client.query import SagaState
from tests.patience import PATIENCE
from tests.runtime.stage import refusal_of, staged
from tests.saga import shop

Look = Callable[[], Awaitable[SagaState]]
SOON, LONG = timedelta(seconds=0.05), timedelta(seconds=PATIENCE)


async def test_who_asks_is_answered_once_the_step_has_replied_and_whoever_asks_again_as_well() -> None:
    async with staged() as stage:
        await stage.orchestrator()
        client = await stage.client()
        saga_id = await client.start(shop.order_saga, shop.ORDER)
        asked = asyncio.create_task(client.query(saga_id, until="charge_payment", timeout=LONG))
        await stage.carry_out("payment")
        state = await asked
        assert (state.status, state.replies["charge_payment"]) == ("running", shop.CHARGED)
        assert [one.step for one in state.remaining] == ["reserve_inventory", "ship_order"]
        await stage.answer(refusal_of(await stage.command("inventory"), "sold_out"))
        await stage.carry_out("payment")
        assert (await client.wait(saga_id)).status == "compensated"
        again = await (await stage.client()).query(saga_id, until="charge_payment", timeout=LONG)
        assert again.replies["charge_payment"] == shop.CHARGED, "also by another process, when it was undone since"


async def test_who_asks_is_told_that_it_failed() -> None:
    async with staged() as stage:
        await stage.orchestrator()
        client = await stage.client()
        saga_id = await client.start(shop.order_saga, shop.ORDER)
        asked = asyncio.create_task(client.query(saga_id, until="charge_payment", timeout=LONG))
        await stage.answer(refusal_of(await stage.command("payment"), "card_declined"))
        state = await asked
        assert state.failure
        assert (state.failure.code, state.failure.step, dict(state.replies)) == ("card_declined", "charge_payment", {})


async def test_who_asks_has_a_time_to_wait_and_the_saga_goes_on() -> None:
    async with staged() as stage:
        client = await stage.client()
        saga_id = await client.start(shop.order_saga, shop.ORDER)
        with pytest.raises(OutcomePending, match=r"charge_payment has not replied within 0.05 s"):
            await client.query(saga_id, until="charge_payment", timeout=SOON)
        with pytest.raises(UsageError, match=r"no step 'charge_paiment' that replies\. Did you mean 'charge_payment'"):
            await client.query(saga_id, until="charge_paiment", timeout=SOON)
        assert (await client.query(saga_id)).status == "running"


# --- planted ----------------------------------------------------------------------------------------------------------


async def told_before_it_has_replied(look: Look, until: str) -> SagaState:
    """Whoever asks is told where the saga stands, whatever it was to wait for."""
    return await look()


async def waits_for_what_never_comes(look: Look, until: str) -> SagaState:
    """Only a reply is an answer."""
    while until not in (state := await look()).replies:
        await asyncio.sleep(0.1)
    return state


async def told_once_it_was_sent(look: Look, until: str) -> SagaState:
    """That a step has begun counts as its reply."""
    state = await look()
    while not any(one.step == until and one.begun for one in state.remaining):
        await asyncio.sleep(0.1)
        state = await look()
    return state


@pytest.mark.parametrize("planted", [told_before_it_has_replied, waits_for_what_never_comes, told_once_it_was_sent])
async def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, planted: Any) -> None:
    monkeypatch.setattr(query, "_first", planted)
    found = 0
    for scenario in (
        test_who_asks_is_answered_once_the_step_has_replied_and_whoever_asks_again_as_well,
        test_who_asks_is_told_that_it_failed,
    ):
        try:
            await scenario()
        except (AssertionError, KeyError, OutcomePending):
            found += 1
    assert found
