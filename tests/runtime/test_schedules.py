"""Schedules on real stores, with a clock that is the test's: what is due is started once, and what was missed as
declared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from choros import App, Client, Schedule, StoreMisconfigured, UsageError
from choros.runtime.client.schedules import ScheduleActs
from choros.runtime.orchestrator.agenda import Agenda, begun, read_agenda
from choros.runtime.orchestrator.history import read_history
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.orchestrator.schedules import Schedules
from choros.store.memory.sagas import MemoryStore
from choros.store.redis.sagas import RedisStore
from choros.store.sagas import Store, Transition
from choros.store.sqlite.sagas import SqliteStore
from choros.values import replace
from tests.patience import PATIENCE
from tests.runtime.scheduling import night_app, order_of
from tests.runtime.stage import make_app, staged
from tests.saga import shop

BEGAN = datetime(2026, 10, 20, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0
Opening = Callable[[str], Store]


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.servers)])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens a scope of what the last one has left."""
    if request.param == "sqlite":
        return lambda scope: SqliteStore(tmp_path / "sagas.db", scope)
    if request.param == "redis":
        url, apart = request.getfixturevalue("redis_url"), request.getfixturevalue("namespace")
        return lambda scope: RedisStore(url, f"{apart}.{scope}")
    first = MemoryStore()
    return lambda scope: MemoryStore(first, namespace=scope)


@pytest.fixture
def memory() -> Opening:
    first = MemoryStore()
    return lambda scope: MemoryStore(first, namespace=scope)


@dataclass
class Office:
    """One process that starts what is due, and whoever acts on it."""

    app: App
    client: Client
    store: Store
    schedules: Schedules
    acts: ScheduleActs

    async def work(self) -> None:
        """Until nothing is due."""
        await self.schedules.establish()
        while await self.schedules.look() <= 0.0:
            pass

    async def started(self) -> list[str]:
        """The start keys of all sagas."""
        return sorted(record.key for record in (await self.store.find(limit=500)).records)

    async def agenda(self, name: str = "nightly") -> Agenda:
        found = (await self.acts.show(name)).agenda
        assert found
        return found


@asynccontextmanager
async def office(opening: Opening, days: float, app: App | None = None) -> AsyncIterator[Office]:
    """So many days after it all began."""
    app = app or only_nightly()
    async with staged() as stage, AsyncExitStack() as stack:
        stores = opening("shop.shop"), opening("shop.shop.schedules")
        for store in stores:
            store.now = lambda: BEGAN + days * DAY  # type: ignore[method-assign]
            await store.open()
            stack.push_async_callback(store.close)
        given: Any = {"store": stores[0], "schedules": stores[1], "transport": stage.transport}
        client = await stack.enter_async_context(Client(app, **given))
        schedules = Schedules(app, stores[1], client._decider.ask)
        yield Office(app, client, stores[0], schedules, client.signed("Ann", "because").schedules)


def only_nightly(**given: Any) -> App:
    """An order every night at half past two in Berlin, or as given."""
    app = night_app()
    more: Any = {"start": order_of, "cron": "30 2 * * *", "tz": "Europe/Berlin", **given}
    schedule = Schedule("nightly", shop.order_saga, **more)
    return App("shop", sagas=app.sagas.values(), services=app.services.values(), schedules=[schedule])


def nights(first: int, last: int) -> list[str]:
    """The keys of the nights of October 2026; the clocks go back on the 25th, after half past two has been."""
    return [f"nightly:2026-10-{day}T{'00' if day <= 25 else '01'}:30:00Z" for day in range(first, last + 1)]


async def test_a_night_is_started_once_by_any_number_of_orchestrators(opening: Opening) -> None:
    async with office(opening, 0) as here:
        await here.work()
        assert await here.started() == []
        assert (await here.agenda()).following == datetime(2026, 10, 21, 0, 30, tzinfo=UTC).timestamp()
    async with office(opening, 1) as here, office(opening, 1) as there:
        await asyncio.gather(here.work(), there.work())
        await here.work()
        assert await here.started() == nights(21, 21)
        agenda = await here.agenda()
        assert [(tick.key, tick.why) for tick in agenda.ticks] == [(nights(21, 21)[0], "clock")]
        record = (await here.store.load([agenda.ticks[0].saga_id]))[agenda.ticks[0].saga_id].record
        assert "2026-10-21T02:30:00+02:00" in record.state
        assert agenda.following == datetime(2026, 10, 22, 0, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("given", "started", "gap"),
    [
        ({}, nights(27, 27), (21, 26)),
        ({"missed": "all", "late": timedelta(days=30)}, nights(21, 27), None),
        ({"missed": "all"}, nights(27, 27), (21, 26)),
        ({"missed": "all", "late": timedelta(hours=1)}, [], (21, 27)),
        ({"missed": "skip"}, [], (21, 27)),
        ({"missed": "skip", "late": timedelta(hours=23)}, nights(27, 27), (21, 26)),
    ],
)
async def test_what_nobody_was_there_for_is_started_as_declared(
    opening: Opening, given: dict[str, Any], started: list[str], gap: tuple[int, int] | None
) -> None:
    app = only_nightly(**given)
    async with office(opening, 0, app) as here:
        await here.work()
    async with office(opening, 7, app) as here:
        await here.work()
        assert await here.started() == started
        agenda = await here.agenda()
        assert agenda.following == datetime(2026, 10, 28, 1, 30, tzinfo=UTC).timestamp()
        ends = gap and tuple(
            f"nightly:{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for at in agenda.passed_over or ()
        )
        assert ends == (gap and (nights(gap[0], gap[0])[0], nights(gap[1], gap[1])[0]))


async def test_on_time_is_not_missed_with_skip(memory: Opening) -> None:
    app = only_nightly(missed="skip")
    async with office(memory, 0, app) as here:
        await here.work()
    seconds = 12.5 * 3600 + 20
    async with office(memory, seconds / DAY, app) as here:
        await here.work()
        assert await here.started() == nights(21, 21)


async def test_more_than_one_look_can_start_comes_in_several(memory: Opening) -> None:
    app = only_nightly(cron=None, every=timedelta(hours=1), missed="all", late=timedelta(days=30))
    async with office(memory, 0, app) as here:
        await here.work()
    async with office(memory, 5, app) as here:
        await here.work()
        assert len(await here.started()) == 120
        assert len((await here.agenda()).ticks) == 50


async def test_a_pause_holds_the_clock_and_not_what_people_want(opening: Opening) -> None:
    async with office(opening, 0) as here:
        await here.work()
        assert [await here.acts.pause("nightly"), await here.acts.pause("nightly")] == ["paused", "too_late"]
        rows = [one for row in await here.acts.history("nightly") for one in read_history(row.events)]
        assert [(one.kind, one.by, one.reason) for one in rows] == [
            ("declared", "", ""),
            ("paused", "Ann", "because"),
        ]
    async with office(opening, 3) as here:
        await here.work()
        assert await here.started() == []
        assert (await here.acts.show("nightly")).coming(5, BEGAN) == ()
        saga_id = await here.acts.trigger("nightly", id="t1")
        assert await here.acts.trigger("nightly", id="t1") == saga_id
        await here.work()
        assert await here.started() == ["nightly:trigger:t1"]
        assert (await here.client.show(saga_id)).record.key == "nightly:trigger:t1"
        assert [await here.acts.resume("nightly"), await here.acts.resume("nightly")] == ["resumed", "too_late"]
        await here.work()
        assert await here.started() == [*nights(23, 23), "nightly:trigger:t1"]


async def test_a_backfill_starts_each_time_once_also_those_that_had_been(opening: Opening) -> None:
    async with office(opening, 0) as here:
        await here.work()
    async with office(opening, 1) as here:
        await here.work()
        span = datetime(2026, 10, 19, tzinfo=UTC), datetime(2026, 10, 21, 0, 30, tzinfo=UTC)
        assert await here.acts.backfill("nightly", *span) == 3
        await here.work()
        assert await here.acts.backfill("nightly", *span) == 3
        await here.work()
        assert await here.started() == nights(19, 21)
        assert (await here.agenda()).backfills == ()
        assert (await here.agenda()).following == datetime(2026, 10, 22, 0, 30, tzinfo=UTC).timestamp()


async def test_a_long_backfill_comes_in_several_looks_and_beside_the_clock(memory: Opening) -> None:
    app = only_nightly(cron=None, every=timedelta(hours=1))
    async with office(memory, 0, app) as here:
        await here.work()
        first = datetime.fromtimestamp(BEGAN, UTC) - timedelta(hours=119)
        assert await here.acts.backfill("nightly", first, datetime.fromtimestamp(BEGAN, UTC)) == 120
        await here.acts.trigger("nightly", id="t1")
        await here.work()
        assert len(await here.started()) == 121


async def test_what_cannot_be_wanted_is_refused_with_a_sentence(memory: Opening) -> None:
    now = datetime.fromtimestamp(BEGAN, UTC)
    async with office(memory, 0, only_nightly(cron=None, every=timedelta(seconds=1))) as here:
        with pytest.raises(UsageError, match="there are more than 10000 in that span"):
            await here.acts.backfill("nightly", now - timedelta(days=1), now)
        with pytest.raises(UsageError, match="there are none in that span"):
            await here.acts.backfill("nightly", now, now - timedelta(days=1))
        with pytest.raises(UsageError, match="need a zone"):
            await here.acts.backfill("nightly", now.replace(tzinfo=None), now)
        with pytest.raises(UsageError, match="There is no schedule 'nihgtly'"):
            await here.acts.pause("nihgtly")
        with pytest.raises(UsageError, match="There is no schedule 'other'"):
            await here.acts.show("other")
        with pytest.raises(UsageError, match="id is no text"):
            await here.acts.trigger("nightly", id="x" * 61)


async def test_other_times_take_the_record_over_and_count_from_what_was_dealt_with(opening: Opening) -> None:
    async with office(opening, 0) as here:
        await here.work()
    at_three = only_nightly(cron="0 3 * * *")
    async with office(opening, 1, at_three) as here:
        await here.work()  # the 21st had come under the old times, and nobody was there
        assert await here.started() == ["nightly:2026-10-21T01:00:00Z"]
    async with office(opening, 1.5, only_nightly(cron=None, every=timedelta(hours=1))) as there:
        await there.work()  # nothing had: these times count from now
        assert await there.started() == ["nightly:2026-10-21T01:00:00Z"]
        assert (await there.agenda()).following == BEGAN + 1.5 * DAY + 3600
        async with office(opening, 9, at_three) as late:
            assert await late.schedules.look() > 0.0  # who began before that leaves it alone
            assert (await late.acts.show("nightly")).declared_otherwise
        rows = [one.declaration for row in await there.acts.history("nightly") for one in read_history(row.events)]
        assert rows == ["30 2 * * * Europe/Berlin", "0 3 * * * Europe/Berlin", "every 1:00:00"]


async def test_one_that_is_declared_no_more_starts_nothing_and_is_shown_as_such(memory: Opening) -> None:
    async with office(memory, 0) as here:
        await here.work()
    async with office(memory, 2, night_app()) as here:
        await here.work()
        assert [(one.name, one.schedule is None) for one in await here.acts.list()] == [
            ("nightly", False),
            ("often", False),
        ]
    other = Schedule("other", shop.order_saga, start=order_of, every=timedelta(hours=1))
    shop_app = make_app()
    app = App("shop", sagas=shop_app.sagas.values(), services=shop_app.services.values(), schedules=[other])
    async with office(memory, 4, app) as here:
        await here.work()
        found = {one.name: one for one in await here.acts.list()}
        assert (found["nightly"].schedule, found["nightly"].coming(5, BEGAN)) == (None, ())
        assert not any(key.startswith("nightly:2026-10-24") for key in await here.started())


async def test_a_message_that_cannot_be_made_holds_its_schedule_and_nothing_is_lost(memory: Opening) -> None:
    broken = [True]

    def start(at: datetime) -> shop.PlaceOrder:
        if broken[0]:
            raise KeyError(at)
        return order_of(at)

    app = only_nightly(start=start)
    async with office(memory, 0, app) as here:
        await here.work()
        with pytest.raises(UsageError, match="start of schedule 'nightly' failed"):
            await here.acts.trigger("nightly")
    for tries in (1, 2):
        async with office(memory, 1 + tries, app) as here:
            await here.work()
            assert (await here.started(), (await here.agenda()).tries) == ([], tries)
            assert here.schedules.noticed == [f"Schedule nightly starts nothing: {(await here.agenda()).trouble}"]
    broken[0] = False
    async with office(memory, 3.1, app) as here:
        await here.work()
        assert await here.started() == nights(23, 23)
        assert ((await here.agenda()).trouble, here.schedules.noticed) == ("", [])


def test_it_is_tried_again_ever_more_seldom_however_long_that_goes_on() -> None:
    stands = Agenda(BEGAN, BEGAN, "every 1:00:00", tries=1)
    waits = [(replace(stands, tries=tries).wakes_at(BEGAN) or 0.0) - BEGAN for tries in (1, 2, 5, 6, 5000)]
    assert waits == [2.0, 4.0, 32.0, 60.0, 60.0]


async def test_a_start_that_makes_another_message_of_the_same_time_has_started_it(memory: Opening) -> None:
    """A crash between start and move, and another release after it."""
    async with office(memory, 0) as here:
        await here.work()
    async with office(memory, 1) as here:
        await here.client.start(shop.order_saga, shop.ORDER, key=nights(21, 21)[0])
        await here.work()
        assert await here.started() == nights(21, 21)
        assert [tick.key for tick in (await here.agenda()).ticks] == nights(21, 21)


async def test_a_record_that_somebody_has_broken_stops_nobody_else(memory: Opening) -> None:
    app = night_app()
    async with office(memory, 0, app) as here:
        await here.work()
        store = here.schedules.store
        record = (await store.load(["nightly"]))["nightly"].record
        broken = replace(record, state="{}", version=record.version + 1, transition="x", wake_at=BEGAN)
        await store.commit([Transition(broken, record.transition)])
        with pytest.raises(StoreMisconfigured, match="The record of schedule 'nightly' cannot be read"):
            await here.acts.show("nightly")
    async with office(memory, 1, app) as here:
        await here.work()
        assert all(key.startswith("often") for key in await here.started())
        assert here.schedules.noticed == [
            "Schedule nightly starts nothing: The record of schedule 'nightly' cannot be read."
        ]


async def test_an_orchestrator_starts_what_is_due_by_itself(opening: Opening) -> None:
    app = only_nightly(cron=None, every=timedelta(seconds=1))
    async with staged() as stage:
        stores = opening("shop.shop"), opening("shop.shop.schedules")
        for store in stores:
            await store.open()
        made = Orchestrator(app, transport=stage.transport, store=stores[0], schedules=stores[1])
        await made.declare()
        running = asyncio.create_task(made.run())
        async with asyncio.timeout(PATIENCE):
            while len((await stores[0].find(limit=10)).records) < 2:
                await asyncio.sleep(0.05)
        made.stop()
        await running
        for store in stores:
            await store.close()


async def test_schedules_without_a_store_for_them_are_refused() -> None:
    async with staged() as stage:
        with pytest.raises(UsageError, match="The schedules of application 'shop' have no store"):
            Orchestrator(night_app(), transport=stage.transport, store=stage.store)
        with pytest.raises(UsageError, match="have no store"):
            await (await stage.client()).schedules.list()


def test_an_agenda_that_a_newer_choros_wrote_is_read() -> None:
    record = begun(night_app().schedules["nightly"], "shop", BEGAN).record
    told = json.loads(record.state) | {"something": "new"}
    assert read_agenda(replace(record, state=json.dumps(told))) == read_agenda(record)
