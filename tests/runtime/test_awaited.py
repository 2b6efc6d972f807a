"""From "this saga is stuck" to knowing why: what it waits for, and whether anybody is there to answer."""

from __future__ import annotations

import asyncio

import pytest

from choros.desk.awaited import waits_for
from choros.roles.roles import stop_all
from choros.runtime.host.presence import absent, told
from choros.runtime.orchestrator.absence import LOOK_EVERY
from choros.transport.port import Seen
from tests.captured import capture_logs
from tests.runtime.waiting_shop import TIMEOUT, application, shop


async def test_a_service_that_is_not_there_is_named() -> None:
    async with shop() as one:
        saga_id = await one.start()
        began = one.part.store.now()
        waits = await one.waits(saga_id)
        assert (waits.step, waits.operation, waits.service, waits.queue) == ("charge", "do", "payment", "shop.payment")
        assert (waits.attempt, waits.attempts, waits.answered, waits.held) == (1, None, False, "")
        assert waits.since == pytest.approx(began, abs=1)
        assert waits.until == waits.since + 15 * 60
        assert waits.next_try == waits.since + TIMEOUT
        for _ in range(10):
            assert not (await one.waits(saga_id)).unsent
            await asyncio.sleep(0.5)
        await asyncio.sleep(TIMEOUT - 4)
        later = await one.waits(saga_id)
        assert (later.attempt, later.since) == (2, waits.since)
        assert later.seen == Seen("there", 0, 2)
        assert told(later.seen, "payment", later.queue) == "nobody consumes shop.payment, where 2 messages wait"


@pytest.mark.slow
async def test_what_keeps_it_from_going_on_is_told_apart() -> None:
    async with shop() as one:
        saga_id = await one.start()
        await asyncio.sleep(0.1)
        consumer = await one.part.transport.consume("shop.payment", 10)
        assert len(await consumer.receive(10)) == 1
        seen = (await one.waits(saga_id)).seen
        assert "at work, or hangs" in told(seen, "payment", "shop.payment")
        await one.client.pause(saga_id)
        assert (await one.waits(saga_id)).held == "paused"
        await one.client.resume(saga_id)
        await asyncio.sleep(16 * 60)
        parked = await one.waits(saga_id)
        assert (parked.held, parked.next_try) == ("parked", None)
        assert await waits_for(application(version=2).sagas, "shop", one.part.store, saga_id) is None
        assert await waits_for(one.app.sagas, "shop", one.part.store, "nothing") is None


async def test_what_has_not_left_is_told_apart() -> None:
    async with shop() as one:
        one.part.transport._broker.pause()  # type: ignore[attr-defined] # as an alarm does
        saga_id = await one.start()
        await asyncio.sleep(20)
        assert (await one.waits(saga_id)).unsent


async def test_a_store_that_no_orchestrator_serves_is_told_apart() -> None:
    """However well its services are: an answer would lie there, and nothing is tried again."""
    async with shop() as one:
        saga_id = await one.start()
        await one.part.transport.consume("shop.payment", 10)
        assert (await one.waits(saga_id)).answers.consumers == 1
        await stop_all([one.part])
        await asyncio.sleep(1)
        assert (await one.waits(saga_id)).answers == Seen("there", 0, 0)
        told = "\n".join(await one.lines(saga_id))
        assert "no orchestrator on this store is at work" in told
        assert "Try: choros run shop --role orchestrator" in told


@pytest.mark.slow
async def test_what_is_parked_and_paused_is_to_be_resumed_first() -> None:
    async with shop() as one:
        saga_id = await one.start()
        await asyncio.sleep(3600)
        await one.client.pause(saga_id)
        *why, hint = await one.lines(saga_id)
        assert why[0].startswith("waits to be resumed, and then for a person: charge (do) is in doubt")
        assert hint.startswith("  Try: choros saga resume shop order-1042")


async def test_an_orchestrator_says_once_that_nobody_is_there_and_once_that_it_is_over() -> None:
    async with shop() as one:
        with capture_logs() as said:
            await one.start()
            await asyncio.sleep(TIMEOUT - 1)
            assert not one.part.absent.noticed  # nothing is overdue, so nobody has asked
            await asyncio.sleep(300)
            (noticed,) = one.part.absent.noticed
            unanswered, _, why = noticed.partition(": ")
            assert unanswered.startswith("Unanswered for ")
            assert why.startswith("nobody consumes shop.payment, where ")
            assert why in " ".join(one.vitals.report().remarks)
            consumer = await one.part.transport.consume("shop.payment", 1)
            await asyncio.sleep(LOOK_EVERY + 1)
            (noticed,) = one.part.absent.noticed
            assert ": shop.payment has 1 consumer, and " in noticed
            await consumer.close()
        events = [entry for entry in said if entry["event"].startswith("choros.service.")]
        assert [entry["event"] for entry in events] == ["choros.service.absent", "choros.service.back"]
        assert events[0]["service"] == "payment"
        assert events[1]["seconds"] > 200


async def test_an_answer_ends_it_without_a_question() -> None:
    async with shop() as one:
        one.part.absent.overdue("payment")
        await asyncio.sleep(1)
        assert one.part.absent.noticed
        with capture_logs() as said:
            one.part.absent.heard("payment")
            one.part.absent.heard("payment")
        assert ([entry["event"] for entry in said], one.part.absent.noticed) == (["choros.service.back"], [])


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen("there", 0, 1), "nobody consumes q, where 1 message waits"),
        (Seen("there", 0, 5012), "nobody consumes q, where 5,012 messages wait"),
        (Seen("there", 2, 7), "q has 2 consumers, and 7 more messages wait: pay is slow, or its handlers hang"),
        (Seen("there", 1, 0), "q has 1 consumer, and nothing waits there: its handler is at work, or hangs"),
        (Seen("missing"), "there is no queue q: pay has never run here, or it was deleted"),
        (Seen("silent"), "the queue q does not answer: its leader is away, or has no majority"),
        (Seen("untold"), ""),
    ],
)
def test_a_queue_speaks_for_its_service(seen: Seen, words: str) -> None:
    assert told(seen, "pay", "q").removesuffix(" (choros health)") == words
    assert absent(seen) == words.startswith(("nobody", "there is no", "the queue q does not"))
