"""Finding sagas by where they are and why, and the one that a person means."""

from __future__ import annotations

from typing import Any

import pytest

from choros.desk.overview import Overview, WantedSagas, overview
from choros.errors import SagaNotFound, UsageError
from choros.messages import Failure
from choros.runtime.client.reference import referred
from choros.saga.machine.instance import Instance, Leg, NodeState
from choros.sources import rerun_id_for, saga_id_for
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import Committed
from choros.testing.conformance.records import creation
from choros_verify.simulation.invention import invent
from reference_services.order.app import app

ORDER = app.saga("order")
NAMES = ORDER.outline.paths
SCOPE = "shop.shop"
ORDERED = invent(ORDER.start).to_json()


async def keep(store: MemoryStore, saga_id: str, at: float, fingerprint: str = "", **of_it: Any) -> None:
    """One more instance; what `key`, `saga`, `version` do not say is said of its state."""
    record = {name: of_it.pop(name) for name in ("key", "saga", "saga_version") if name in of_it}
    instance = Instance(saga_id, ORDERED, **of_it)
    made = creation(
        saga_id, status=instance.status, state=instance.dumps(), started_at=at, updated_at=at,
        fingerprint=fingerprint or ORDER.fingerprint.hash, **record,
    )  # fmt: skip
    assert await store.commit([made]) == [Committed.OK]


def as_of_old(saga_id: str) -> Instance:
    """At its second step, as an older choros stored it."""
    done, sent = NodeState("ok"), NodeState("sent", leg=Leg("do", "{}", 1, 0.0, 30.0))
    steps = (done, sent, *(NodeState() for _ in NAMES[2:]))
    return Instance(saga_id, ORDERED, steps=steps, cursor=1)


async def empty() -> MemoryStore:
    store = MemoryStore()
    await store.open()
    return store


async def some() -> MemoryStore:
    store = await empty()
    failure = Failure(code="card_declined", detail="no money", step=NAMES[0], kind="refused").to_json()
    done, why = NodeState("ok"), "ship_order (do) is in doubt: timeout"
    waits = {NAMES[0]: done, NAMES[1]: done, NAMES[2]: NodeState("sent", parked=why)}
    await keep(store, "runs", 100.0, nodes={NAMES[0]: done})
    await keep(store, "waits", 200.0, nodes=waits, status="parked")
    await keep(store, "paused", 300.0, paused=True)
    await keep(store, "undone", 400.0, status="compensated", backward=True, failure=failure)
    await keep(store, "done", 500.0, status="completed")
    await keep(store, "newer", 600.0, "another", saga_version=2)
    return store


def ids(seen: Overview) -> list[str]:
    return [one.record.saga_id for one in seen.found]


async def test_each_says_where_it_is_and_why() -> None:
    seen = await overview(app.sagas, await some(), WantedSagas(), 10)
    told = {one.record.saga_id: (one.step, one.reason, one.paused) for one in seen.found}
    assert told["runs"] == (NAMES[1], "", False)
    assert told["waits"] == (NAMES[2], "ship_order (do) is in doubt: timeout", False)
    assert told["paused"] == (NAMES[0], "", True)
    assert told["undone"] == (NAMES[0], "card_declined: no money", False)
    assert told["done"] == ("", "", False)
    assert told["newer"][1].startswith("stuck: version 2 is not in this application")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (WantedSagas(status="parked"), ["waits"]),
        (WantedSagas(step=NAMES[0]), ["undone", "paused"]),
        (WantedSagas(reason="TIMEOUT"), ["waits"]),
        (WantedSagas(reason="stuck"), ["newer"]),
        (WantedSagas(version=2), ["newer"]),
        (WantedSagas(version=1, since=300.0), ["done", "undone", "paused"]),
        (WantedSagas(paused=True), ["paused"]),
        (WantedSagas(before=300.0), ["waits", "runs"]),
        (WantedSagas(since=200.0, before=400.0), ["paused", "waits"]),
        (WantedSagas(saga="nothing"), []),
    ],
)
async def test_they_are_found_by_all_of_that(wanted: WantedSagas, found: list[str]) -> None:
    assert ids(await overview(app.sagas, await some(), wanted, 10)) == found


async def test_a_step_is_named_by_the_history_where_no_declaration_says_it() -> None:
    store = await empty()
    of_that = ORDER.fingerprint.text.replace('"', '\\"').replace("\n", "\\n")
    made = creation("old", state=as_of_old("old").dumps(), fingerprint="gone")
    await store.commit([made.__class__(made.record, history=f'[{{"kind":"started","declaration":"{of_that}"}}]')])
    old = as_of_old("unknown")
    await keep(store, "unknown", 1.0, "nowhere", steps=old.steps, cursor=1)
    seen = await overview({}, store, WantedSagas(), 10)
    assert [(one.record.saga_id, one.step) for one in seen.found] == [("old", NAMES[1]), ("unknown", "step 2")]


async def test_it_says_whether_there_are_more_and_where_it_stopped() -> None:
    store = await some()
    seen = await overview(app.sagas, store, WantedSagas(), 2)
    assert (ids(seen), seen.more) == (["newer", "done"], True)
    seen = await overview(app.sagas, store, WantedSagas(paused=True), 2, most=3)
    assert (ids(seen), seen.more, seen.ended_at) == ([], False, 300.0)
    seen = await overview(app.sagas, store, WantedSagas(paused=True, before=400.0), 2, most=3)
    assert (ids(seen), seen.ended_at) == (["paused"], None)


async def test_a_page_ends_where_a_page_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("choros.desk.overview.PAGE", 1)
    store = await some()
    assert len((await overview(app.sagas, store, WantedSagas(), 10)).found) == 6
    assert ids(await overview(app.sagas, store, WantedSagas(paused=True), 1)) == ["paused"]


# --- which one is meant -----------------------------------------------------------------------------------------------


async def test_an_instance_goes_by_its_id_its_key_and_the_beginning_of_its_id() -> None:
    store = await empty()
    saga_id = saga_id_for(f"{SCOPE}.order", "o2")
    await keep(store, saga_id, 1.0, key="o2")
    for typed in (saga_id, "o2", saga_id[:8]):
        assert await referred(store, SCOPE, typed) == saga_id
    for typed in ("o3", saga_id[:3], "0" * 8, ""):
        with pytest.raises(SagaNotFound):
            await referred(store, SCOPE, typed)
    with pytest.raises(SagaNotFound, match=r"'abcdef99', and no id of the last 5,000 begins so\."):
        await referred(store, SCOPE, "abcdef99")


async def test_what_may_be_several_is_refused_with_their_names() -> None:
    store = await empty()
    order, refund = (saga_id_for(f"{SCOPE}.{saga}", "o2") for saga in ("order", "refund"))
    await keep(store, order, 1.0, key="o2")
    await keep(store, refund, 1.0, key="o2", saga="refund")
    with pytest.raises(UsageError, match="'o2' is the start key of 2 sagas") as raised:
        await referred(store, SCOPE, "o2")
    assert f"{order} (order, running)" in str(raised.value) and refund in str(raised.value)
    for number in range(2):
        await keep(store, f"abcdef-{number}", 1.0)
    with pytest.raises(UsageError, match="'abcdef' begins the id of 2 sagas"):
        await referred(store, SCOPE, "abcdef")


async def test_the_key_of_what_was_run_again_means_the_last_run() -> None:
    store = await empty()
    first = saga_id_for(f"{SCOPE}.order", "o2")
    second = rerun_id_for(first)
    await keep(store, first, 1.0, key="o2", status="compensated", successor=second)
    assert await referred(store, SCOPE, "o2") == first, "noted, and not begun yet"
    await keep(store, second, 2.0, key="o2")
    assert await referred(store, SCOPE, "o2") == second
    assert await referred(store, SCOPE, first) == first
