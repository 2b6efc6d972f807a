"""The orchestrator on the memory transport and store, rule by rule. The services are played by the tests."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from choros.app.app import App
from choros.errors import OutcomePending, SagaNotFound, StartConflict, StoreUnreachable, UsageError
from choros.messages import Failure
from choros.runtime.client.client import Client
from choros.saga.machine.inputs import Decision
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import decide
from choros.saga.policy import RetryPolicy
from choros.sources import fresh_id
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import NOTHING, Committed, EntryNames, Loaded, Transition
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.transport.port import Published
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE

from ..saga import shop
from .stage import AT_ONCE, NAMES, Stage, forged, kinds, make_app, refusal_of, reply_to, staged

REPLIES = NAMES.reply_queue("shop")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made


async def events(client: Client, saga_id: str) -> list[str]:
    account = await client.show(saga_id)
    return [kind for row in account.history for kind in kinds(row)]


async def test_completes_and_publishes_the_fact_after_the_last_reply(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    for service in ("payment", "inventory"):
        await stage.carry_out(service)
    await stage.nothing(NAMES.subscriber_queue("notifications"))
    await stage.carry_out("shipping")
    outcome = await client.wait(saga_id)
    assert outcome.status == "completed"
    fact = await stage.fact()
    assert (fact.type, fact.stream, fact.seq) == ("order-confirmed.v1", saga_id, 1)
    assert shop.OrderConfirmed.from_json(fact.data).parcel == shop.SHIPPED.parcel


async def test_a_refusal_undoes_what_was_done_newest_first(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    for service in ("payment", "inventory"):
        await stage.carry_out(service)
    await stage.answer(refusal_of(await stage.command("shipping"), "no_such_address"))
    release = await stage.command("inventory")
    assert release.type == "release-inventory.v1"
    await stage.nothing(NAMES.service_queue("payment"))
    await stage.answer(reply_to(release))
    refund = await stage.carry_out("payment")
    assert refund.key.endswith(":charge_payment:1:undo")
    outcome = await client.wait(saga_id)
    assert outcome.status == "compensated" and outcome.failure is not None
    assert outcome.failure.code == "no_such_address"
    assert (await stage.fact()).type == "order-rejected.v1"


async def test_every_message_names_its_saga_and_its_cause(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-03")
    charge = await stage.command("payment")
    reply = reply_to(charge)
    await stage.answer(reply)
    reserve = await stage.command("inventory")
    assert {charge.correlation_id, reserve.correlation_id} == {saga_id}
    assert reserve.causation_id == reply.id
    assert (reserve.saga, reserve.saga_version) == ("order", 1)
    assert reserve.reply_to == f"{REPLIES}.{stage.store.identity}"
    assert charge.traceparent == reserve.traceparent == "00-" + "a" * 32 + "-" + "b" * 16 + "-03"


async def test_who_runs_a_saga_and_waits_gives_it_a_trace_as_well(stage: Stage) -> None:
    await stage.orchestrator()
    client, trace = await stage.client(), "00-" + "a" * 32 + "-" + "b" * 16 + "-03"
    waiting = asyncio.create_task(client.run(shop.order_saga, shop.ORDER, traceparent=trace, tracestate="a=1"))
    charge = await stage.command("payment")
    assert (charge.traceparent, charge.tracestate) == (trace, "a=1")
    waiting.cancel()


# --- rule 5: the start key ------------------------------------------------------------------------------------------


async def test_the_same_key_and_body_is_the_same_saga_also_at_once(stage: Stage) -> None:
    await stage.orchestrator()
    first, second = await stage.client(), await stage.client()
    ids = await asyncio.gather(*(c.start(shop.order_saga, shop.ORDER) for c in (first, second) for _ in range(20)))
    assert len(set(ids)) == 1
    await stage.command("payment")
    await stage.nothing(NAMES.service_queue("payment"))


async def test_the_same_key_with_another_body_is_a_conflict(stage: Stage) -> None:
    client = await stage.client()
    await client.start(shop.order_saga, shop.ORDER)
    with pytest.raises(StartConflict, match="another body"):
        await client.start(shop.order_saga, shop.PlaceOrder(order_id="o1", total=999))


@pytest.mark.parametrize(("key", "text"), [(7, "7"), (UUID(int=10), "00000000-0000-0000-0000-00000000000a")])
async def test_a_start_key_may_be_a_number_or_a_uuid(stage: Stage, key: int | UUID, text: str) -> None:
    client = await stage.client()
    assert await client.start(shop.order_saga, shop.ORDER, key=key) == await client.start(
        shop.order_saga, shop.ORDER, key=text
    )


async def test_two_bodies_under_one_key_in_one_batch_start_one_saga(stage: Stage) -> None:
    client = await stage.client()
    other = shop.PlaceOrder(order_id="o1", total=999)
    results = await asyncio.gather(
        *(client.start(shop.order_saga, order) for order in (shop.ORDER, other)), return_exceptions=True
    )
    assert sum(isinstance(result, StartConflict) for result in results) == 1
    assert sum(isinstance(result, str) for result in results) == 1


async def test_a_start_needs_a_key_a_known_saga_and_its_own_message(stage: Stage) -> None:
    client = await stage.client()
    with pytest.raises(UsageError, match="start key"):
        await client.start(shop.order_saga, shop.PlaceOrder(order_id="", total=1))
    with pytest.raises(UsageError, match="not part of this application"):
        await client.start(shop.make_order_saga(), shop.ORDER)
    with pytest.raises(UsageError, match="starts with PlaceOrder"):
        await client.start(shop.order_saga, shop.CHARGED)  # type: ignore[misc] # the checker says so, too


# --- replies: repeated, late, forged --------------------------------------------------------------------------------


async def test_a_reply_twice_is_one_transition(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    reply = reply_to(charge)
    await stage.answer(reply, reply)
    await stage.answer(reply)
    await stage.command("inventory")
    await stage.nothing(NAMES.service_queue("inventory"))
    assert (await events(client, saga_id)).count("replied") == 1
    assert stage.broker.waiting(NAMES.dead_queue(REPLIES)) == []


async def test_a_late_reply_is_recorded_and_changes_nothing(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    await stage.answer(reply_to(charge))
    await stage.command("inventory")
    await stage.answer(reply_to(charge))
    await asyncio.sleep(0.1)
    account = await client.show(saga_id)
    assert account.instance.state("reserve_inventory").progress == "sent"
    assert (await events(client, saga_id)).count("late_reply") == 1


FORGED = {
    "no such saga": dict(correlation_id="x" * 36, key="x" * 36 + ":charge_payment:1:do"),
    "another correlation id": dict(correlation_id="other"),
    "no such step": dict(key="{id}:no_such_step:1:do"),
    "a round to come": dict(key="{id}:charge_payment:7:do"),
    "an undo never sent": dict(key="{id}:charge_payment:1:undo", type="choros.done.v1", data="{}"),
    "a step not reached": dict(key="{id}:ship_order:1:do", type="order-shipped.v1", data='{"parcel":"x"}'),
    "another type": dict(type="order-shipped.v1", data='{"parcel":"x"}'),
    "another body": dict(data='{"payment_id":7}'),
    "no key": dict(key="rubbish"),
    "a step's undo that has none": dict(key="{id}:ship_order:1:undo"),
    "a failure that is none": dict(outcome="refused", data="[]"),
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_reply_is_parked_and_the_saga_goes_on(stage: Stage, changes: dict[str, str]) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    real = reply_to(charge)
    given = {name: value.replace("{id}", saga_id) for name, value in changes.items()}
    await stage.answer(forged(real, **given))
    assert await stage.dead(REPLIES)
    assert (await client.show(saga_id)).instance.state("charge_payment").progress == "sent"
    await stage.answer(real)
    await stage.command("inventory")


async def test_what_is_forged_under_a_good_replys_id_does_not_take_its_place(stage: Stage) -> None:
    """Decided in one batch, the first must not make the second a repetition."""
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    real = reply_to(await stage.command("payment"))
    await stage.answer(replace(real, key=f"{saga_id}:nobody:1:do"), replace(real, saga_version=99), real, real)
    await stage.orchestrator()
    await stage.command("inventory")
    assert await stage.dead(REPLIES)
    assert await stage.dead(REPLIES)
    assert (await stage.store.load([saga_id]))[saga_id].record.received.count(real.id) == 1


# --- rules 6 and 7: commits -----------------------------------------------------------------------------------------


class Counting(MemoryStore):
    """Counts the transitions that each commit holds."""

    def __init__(self, sharing: MemoryStore) -> None:
        super().__init__(sharing)
        self.sizes: list[int] = []

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        self.sizes.append(len(batch))
        return await super().commit(batch)


async def test_inputs_of_one_saga_in_a_batch_are_one_transition(stage: Stage) -> None:
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    # A failure and an OK of the same attempt wait together: one transition, decided by the definite one.
    failed = reply_to(charge, Failure(code="Boom", kind="failed"), "failed")
    await stage.answer(failed, reply_to(charge))
    await stage.orchestrator()
    await stage.command("inventory")
    account = await client.show(saga_id)
    assert [kinds(row) for row in account.history][1:] == [["failed", "retry_scheduled", "replied", "sent"]]


async def test_work_that_waits_together_is_committed_together(stage: Stage) -> None:
    store = Counting(stage.store)
    await store.open()
    client = await stage.client(store)
    orders = [shop.PlaceOrder(order_id=f"o{n}", total=1) for n in range(50)]
    await asyncio.gather(*(client.start(shop.order_saga, order) for order in orders))
    assert max(store.sizes) > 10 and sum(store.sizes) == 50


class AwayAWhile(MemoryStore):
    """Fails so many reads, as a pool does whose connections have gone stale."""

    def __init__(self, sharing: MemoryStore) -> None:
        super().__init__(sharing)
        self.failing = 0

    async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
        if self.failing:
            self.failing -= 1
            raise StoreUnreachable("The connection was stale.")
        return await super().load(saga_ids, wanted)


async def test_who_waits_for_an_outcome_waits_for_the_store_too(stage: Stage) -> None:
    store = AwayAWhile(stage.store)
    await store.open()
    await stage.orchestrator()
    client = await stage.client(store)
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    store.failing = 3
    for service in ("payment", "inventory", "shipping"):
        await stage.carry_out(service)
    assert (await client.wait(saga_id)).status == "completed"
    assert store.failing == 0
    store.failing = 1_000_000
    with pytest.raises(OutcomePending):
        await client.wait(saga_id, timeout=timedelta(seconds=0.1))
    with pytest.raises(StoreUnreachable):
        await client.outcome(saga_id)


class LosesAnswer(MemoryStore):
    """Applies a commit and then says that it does not know."""

    def __init__(self, sharing: MemoryStore, times: int = 1) -> None:
        super().__init__(sharing)
        self.left = times

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        results = await super().commit(batch)
        if self.left:
            self.left -= 1
            raise StoreUnreachable("The answer was lost.")
        return results


async def test_a_commit_whose_answer_is_lost_is_recognised_as_its_own(stage: Stage) -> None:
    store = LosesAnswer(stage.store, times=0)
    await store.open()
    orchestrator = await stage.orchestrator(store=store, resend_after=AT_ONCE)
    client = Client(stage.app, store=store, transport=stage.transport, decider=orchestrator.decider)
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    store.left = 1
    await stage.answer(reply_to(charge))
    await stage.carry_out("inventory")
    await stage.carry_out("shipping")
    assert (await client.wait(saga_id)).status == "completed"
    told = await events(client, saga_id)
    assert told.count("replied") == 3
    assert "late_reply" not in told
    assert stage.broker.waiting(REPLIES) == []


async def test_a_start_whose_answer_is_lost_is_still_one_saga(stage: Stage) -> None:
    store = LosesAnswer(stage.store)
    await store.open()
    client = await stage.client(store)
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    assert (await client.show(saga_id)).record.version == 1


class Refusing(MemoryTransport):
    """Confirms nothing while told so."""

    deaf = True

    async def send(self, messages: Sequence[Envelope]) -> Sequence[Published]:
        if self.deaf:
            return [Published.UNKNOWN] * len(messages)
        return await super().send(messages)


async def test_what_a_crash_left_in_the_outbox_is_sent_under_its_own_id(stage: Stage) -> None:
    transport = Refusing(stage.broker, "shop")
    await transport.connect()
    async with Client(stage.app, store=stage.store, transport=transport) as client:
        await client.start(shop.order_saga, shop.ORDER)
    left = await stage.store.unsent("commands", stage.store.now() + 1, 10)
    await stage.orchestrator(resend_after=AT_ONCE)
    charge = await stage.command("payment")
    assert [entry.id for entry in left] == [charge.id]


async def test_what_a_removed_version_left_in_the_outbox_leaves(stage: Stage) -> None:
    transport = Refusing(stage.broker, "shop")
    await transport.connect()
    async with Client(stage.app, store=stage.store, transport=transport) as client:
        await client.start(shop.order_saga, shop.ORDER)
    await stage.orchestrator(App("shop"), resend_after=AT_ONCE)
    assert (await stage.command("payment")).saga_version == 1


async def test_facts_that_cannot_leave_do_not_stop_commands(stage: Stage) -> None:
    class NoFacts(MemoryTransport):
        async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
            await asyncio.sleep(60)
            return [Published.UNKNOWN] * len(facts)

    transport = NoFacts(stage.broker, "shop")
    await transport.connect()
    orchestrator = await stage.orchestrator(transport=transport, drain=0.1)
    client = Client(stage.app, store=stage.store, transport=transport, decider=orchestrator.decider)
    for number in range(3):
        saga_id = await client.start(shop.order_saga, shop.PlaceOrder(order_id=f"n{number}", total=1))
        for service in ("payment", "inventory", "shipping"):
            await stage.carry_out(service)
        assert (await client.wait(saga_id)).status == "completed"


# --- timers ---------------------------------------------------------------------------------------------------------

QUICK = RetryPolicy(initial=timedelta(milliseconds=30), jitter=0, attempts=3, total=timedelta(seconds=5))


async def test_a_failure_is_tried_again_under_the_same_key(stage: Stage) -> None:
    saga = shop.make_order_saga(QUICK)
    app = make_app(saga)
    await stage.orchestrator(app)
    client = await stage.client(app=app)
    await client.start(saga, shop.ORDER)
    first = await stage.command("payment")
    await stage.answer(reply_to(first, Failure(code="Boom", kind="failed"), "failed"))
    second = await stage.command("payment")
    assert first.key == second.key
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.id != second.id


async def test_five_orchestrators_fire_one_timer_once(stage: Stage) -> None:
    saga = shop.make_order_saga(QUICK)
    app = make_app(saga)
    for _ in range(5):
        store = MemoryStore(sharing=stage.store)
        await store.open()
        await stage.orchestrator(app, store=store)
    client = await stage.client(app=app)
    saga_id = await client.start(saga, shop.ORDER)
    first = await stage.command("payment")
    await stage.answer(reply_to(first, Failure(code="Boom", kind="failed"), "failed"))
    assert (await stage.command("payment")).attempt == 2
    await stage.nothing(NAMES.service_queue("payment"), 0.3)
    account = await client.show(saga_id)
    versions = [row.version for row in account.history]
    assert versions == list(range(1, len(versions) + 1))


# --- what people want -----------------------------------------------------------------------------------------------


async def test_cancel_undoes_also_the_step_in_flight(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    await stage.command("payment")
    assert await client.cancel(saga_id) == "compensating"
    refund = await stage.carry_out("payment")
    assert refund.key.endswith(":undo")
    assert (await client.wait(saga_id)).status == "compensated"


async def test_cancel_with_the_pivot_in_flight_is_wanted_and_after_it_too_late(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    await stage.carry_out("payment")
    await stage.carry_out("inventory")
    ship = await stage.command("shipping")
    assert await client.cancel(saga_id) == "wanted"
    await stage.answer(reply_to(ship))
    assert (await client.wait(saga_id)).status == "completed"
    assert await client.cancel(saga_id) == "too_late"


async def test_a_pause_sends_nothing_more_until_resumed(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    assert await client.pause(saga_id) == "paused"
    await stage.carry_out("payment")
    await stage.nothing(NAMES.service_queue("inventory"))
    assert await client.resume(saga_id) == "resumed"
    await stage.carry_out("inventory")


async def test_an_act_on_no_saga_is_an_error(stage: Stage) -> None:
    client = await stage.client()
    for act in (client.cancel, client.show, client.outcome):
        with pytest.raises(SagaNotFound):
            await act("nobody")


async def test_waiting_is_bounded_and_the_saga_goes_on(stage: Stage) -> None:
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    with pytest.raises(OutcomePending, match="goes on"):
        await client.wait(saga_id, timeout=timedelta(milliseconds=50))


# --- rule 12: versions ----------------------------------------------------------------------------------------------


async def test_a_reply_to_a_version_unknown_here_is_kept_for_a_worker_that_knows_it(stage: Stage) -> None:
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    stranger = await stage.orchestrator(App("shop"), resend_after=AT_ONCE)
    await stage.answer(reply_to(charge))
    async with asyncio.timeout(PATIENCE):
        while not (await stage.store.load([saga_id]))[saga_id].record.undecided:
            await asyncio.sleep(0.01)
    assert stage.broker.waiting(REPLIES) == []
    stranger.stop()
    await stage.orchestrator()
    await stage.carry_out("inventory")
    assert (await stage.store.load([saga_id]))[saga_id].record.undecided == ()


async def test_an_unknown_reply_id_is_fresh_work_only_once(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    one_id = fresh_id()
    await stage.answer(reply_to(charge, id=one_id), reply_to(charge, id=one_id))
    await stage.command("inventory")
    received = (await stage.store.load([saga_id]))[saga_id].record.received
    assert received.count(one_id) == 1


# --- facts in order -------------------------------------------------------------------------------------------------


class DropsFacts(MemoryTransport):
    """Loses the first publish of facts, and keeps a record of what leaves."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker, "shop")
        self.lost = 1
        self.left: list[int] = []

    async def publish(self, facts: Sequence[Envelope]) -> Sequence[Published]:
        if self.lost:
            self.lost -= 1
            return [Published.UNKNOWN] * len(facts)
        self.left += [fact.seq for fact in facts]
        return await super().publish(facts)


async def test_a_fact_that_did_not_leave_holds_back_the_later_ones_and_no_command() -> None:
    saga = shop.parcel_saga
    async with staged(saga) as stage:
        transport = DropsFacts(stage.broker)
        await transport.connect()
        orchestrator = await stage.orchestrator(transport=transport, resend_after=60)
        client = Client(stage.app, store=stage.store, transport=transport, decider=orchestrator.decider)
        await client.start(saga, shop.ORDER, key="o1")
        for command in ("payment", "shipping", "printing"):
            await stage.carry_out(command)
        async with asyncio.timeout(PATIENCE):
            while len(transport.left) < 4:
                await asyncio.sleep(0.01)
        assert transport.left == [1, 2, 3, 4]


async def test_a_refusal_nobody_declared_is_taken_in_again_when_it_comes_again(stage: Stage) -> None:
    await stage.orchestrator()
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")
    stored = refusal_of(charge, "never_declared")
    await stage.answer(stored)
    async with asyncio.timeout(PATIENCE):
        while "undeclared_refusal" not in await events(client, saga_id):
            await asyncio.sleep(0.01)
    assert stored.id not in (await stage.store.load([saga_id]))[saga_id].record.received


async def test_a_key_that_no_header_can_carry_is_refused(stage: Stage) -> None:
    client = await stage.client()
    for key in ("new\nline", "\udc80", "x" * 201):
        with pytest.raises(UsageError, match="printable"):
            await client.start(shop.order_saga, shop.ORDER, key=key)


async def test_a_parked_step_is_skipped_only_once_its_key_is_closed() -> None:
    saga = shop.make_order_saga(RetryPolicy(attempts=1, exhausted="park"))
    async with staged(saga) as stage:
        await stage.orchestrator()
        client = await stage.client()
        saga_id = await client.start(saga, shop.ORDER)
        charge = await stage.command("payment")
        await stage.answer(reply_to(charge, Failure(code="Boom", kind="failed"), "failed"))
        assert (await client.wait(saga_id)).status == "parked"
        with pytest.raises(UsageError, match="answered with OrderShipped"):
            await client.skip(saga_id, "charge_payment", shop.SHIPPED)
        assert await client.skip(saga_id, "charge_payment", shop.CHARGED) == "unparked"
        await stage.nothing(NAMES.service_queue("inventory"))
        close = await stage.carry_out("payment")
        assert (close.type, close.key.rsplit(":", 1)[1]) == ("choros.close.v1", "close")
        await stage.carry_out("inventory")


async def test_a_parked_step_is_tried_again_under_its_key() -> None:
    saga = shop.make_order_saga(RetryPolicy(attempts=1, exhausted="park"))
    async with staged(saga) as stage:
        await stage.orchestrator()
        client = await stage.client()
        saga_id = await client.start(saga, shop.ORDER)
        charge = await stage.command("payment")
        await stage.answer(reply_to(charge, Failure(code="Boom", kind="failed"), "failed"))
        assert (await client.wait(saga_id)).status == "parked"
        with pytest.raises(UsageError, match="is parked at charge_payment, not at reserve_inventory"):
            await client.retry(saga_id, "reserve_inventory")
        assert await client.retry(saga_id, "charge_payment") == "unparked"
        again = await stage.carry_out("payment")
        assert (again.key, again.attempt) == (charge.key, 2)
        await stage.carry_out("inventory")


async def test_a_bug_that_one_saga_meets_does_not_stop_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.orchestrator()
    client = await stage.client()
    broken = await client.start(shop.order_saga, shop.ORDER)
    charge = await stage.command("payment")

    def with_a_bug(tree: Any, instance: Instance, *rest: Any) -> Decision:
        assert instance.saga_id != broken, "a bug"
        return decide(tree, instance, *rest)

    monkeypatch.setattr("choros.runtime.orchestrator.transition.decide", with_a_bug)
    await stage.answer(reply_to(charge))
    assert "bug" in await stage.dead(REPLIES)
    await client.start(shop.order_saga, shop.PlaceOrder(order_id="o2", total=1))
    await stage.carry_out("payment")
    await stage.carry_out("inventory")


async def test_a_start_again_of_a_version_that_this_process_has_dropped_is_answered(stage: Stage) -> None:
    """A rolling deploy: the instance runs elsewhere in the version that it started with."""
    client = await stage.client()
    saga_id = await client.start(shop.order_saga, shop.ORDER)
    newer = shop.make_order_saga()
    newer.version = 2
    again = await stage.client(app=make_app(newer))
    assert await again.start(newer, shop.ORDER) == saga_id


async def test_a_message_that_no_broker_takes_is_refused_or_parks(stage: Stage) -> None:
    client = await stage.client()
    with pytest.raises(UsageError, match="has more than 1048576 bytes"):
        await client.start(shop.order_saga, shop.PlaceOrder(order_id="x" * 2_000_000, total=1), key="big")
