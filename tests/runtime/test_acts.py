"""What people do with a saga: which step they mean, who they were and why, and that a mistyped act leaves no trace."""

from __future__ import annotations

from datetime import timedelta

import pytest

from choros.desk.timeline import timeline
from choros.errors import OutcomePending, UsageError
from choros.messages import Failure
from choros.runtime.client.client import Client
from choros.runtime.client.parked import meant
from choros.runtime.orchestrator.history import Happened, read_history
from choros.runtime.orchestrator.signature import Signature
from choros.saga.machine.instance import ROOT, Instance, NodeState, States
from choros.saga.policy import RetryPolicy
from tests.captured import capture_logs

from ..saga import shop
from .stage import Stage, reply_to, staged

PARKS = shop.make_order_saga(RetryPolicy(attempts=1, exhausted="park"))


async def park(stage: Stage) -> tuple[Client, str]:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(PARKS, shop.ORDER)
    charge = await stage.command("payment")
    await stage.answer(reply_to(charge, Failure(code="Boom", kind="failed"), "failed"))
    assert (await client.wait(saga_id)).status == "parked"
    return client, saga_id


async def history(client: Client, saga_id: str) -> list[Happened]:
    return [one for row in (await client.show(saga_id)).history for one in read_history(row.events)]


async def test_a_saga_that_waits_for_a_person_is_logged_as_an_error() -> None:
    with capture_logs() as logs:
        async with staged(PARKS) as stage:
            _, saga_id = await park(stage)
    (told,) = [entry for entry in logs if entry["event"] == "choros.saga.parked"]
    assert (told["log_level"], told["saga_id"], told["step"]) == ("error", saga_id, "charge_payment")
    assert "in doubt after 1 attempts: Boom" in told["code"]


async def test_a_mistyped_step_is_an_error_and_leaves_no_trace() -> None:
    async with staged(PARKS) as stage:
        client, saga_id = await park(stage)
        before = await client.show(saga_id)
        with pytest.raises(UsageError, match=r"no step 'charge_paymnt'\. Did you mean 'charge_payment'"):
            await client.retry(saga_id, "charge_paymnt")
        with pytest.raises(UsageError, match="Did you mean 'charge_payment'"):
            await client.skip(saga_id, "charge_paymnt", shop.CHARGED)
        with pytest.raises(UsageError, match="is parked at charge_payment, not at ship_order"):
            await client.skip(saga_id, "ship_order", shop.SHIPPED)
        assert await client.show(saga_id) == before


async def test_without_a_name_it_is_the_step_that_is_parked_which_goes_on() -> None:
    async with staged(PARKS) as stage:
        client, saga_id = await park(stage)
        assert await client.retry(saga_id) == "unparked"
        assert (await stage.command("payment")).attempt == 2
        with pytest.raises(UsageError, match="is not parked: it is running"):
            await client.retry(saga_id)
        (unparked,) = [event for event in await history(client, saga_id) if event.kind == "unparked"]
        assert unparked.step == "charge_payment"


async def test_the_history_says_who_did_it_and_why() -> None:
    async with staged(PARKS) as stage:
        client, saga_id = await park(stage)
        ada = client.signed("ada@desk", "the bank\nis back; card 4111 1111 1111 1111")
        assert await ada.retry(saga_id) == "unparked"
        assert await client.signed("bob").pause(saga_id) == "paused"
        assert await client.resume(saga_id) == "resumed"
        assert await client.signed("", "no stock").cancel(saga_id) == "compensating"
        acts = [event for event in await history(client, saga_id) if event.act]
        told = [(event.kind, event.act, event.by, event.reason) for event in acts]
        assert told == [
            ("unparked", "retry", "ada@desk", "the bank is back; card [number]"),
            ("paused", "pause", "bob", ""),
            ("compensating", "cancel", "", "no stock"),
        ]
        lines = [line.strip() for line in timeline(await client.show(saga_id), PARKS)]
        assert any(line.endswith("goes on (retry by ada@desk: the bank is back; card [number])") for line in lines)
        assert any(line.endswith("is being undone: cancelled (cancel: no stock)") for line in lines)


async def test_an_act_that_comes_too_late_says_whose_it_was() -> None:
    async with staged(PARKS) as stage:
        client, saga_id = await park(stage)
        assert await client.signed("ada").resume(saga_id) == "too_late"
        assert {"kind": "too_late", "code": "resume", "act": "resume", "by": "ada"}.items() <= (
            (await history(client, saga_id))[-1].stored.items()
        )


@pytest.mark.parametrize("said", [{"by": "x" * 201}, {"reason": "x" * 1001}])
def test_a_signature_is_a_few_words(said: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="is no text of up to"):
        Signature(**said)


def test_what_speaks_to_a_terminal_or_cannot_be_shown_on_one_is_no_part_of_a_signature() -> None:
    """As an escape sequence, or an umlaut in the bytes of another encoding."""
    said = Signature("ada\x1b[2J", "f\udcfcr\u202eo2\x00").of("drop")
    assert (said["by"], said["reason"]) == ("ada [2J", "f r o2")
    "".join(said.values()).encode()


def test_the_closing_facts_are_parked_under_no_name() -> None:
    nodes = {path: NodeState("ok") for path in PARKS.outline.leaves}
    instance = Instance("s", "{}", States({**nodes, ROOT: NodeState(parked="a fact raised")}), status="parked")
    assert meant(PARKS, instance, None, None) == ("", 1)
    with pytest.raises(UsageError, match="is parked at its closing facts, not at charge_payment"):
        meant(PARKS, instance, "charge_payment", None)


async def test_no_wait_is_shorter_than_none() -> None:
    async with staged(PARKS) as stage:
        client = await stage.client()
        saga_id = await client.start(PARKS, shop.ORDER)
        with pytest.raises(UsageError, match="is no timedelta of zero or more"):
            await client.wait(saga_id, timeout=timedelta(seconds=-1))
        with pytest.raises(OutcomePending):
            await client.wait(saga_id, timeout=timedelta(0))
