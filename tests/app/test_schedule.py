"""What is wrong with a schedule is said when it is written."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

from choros import App, DeclarationError, Message, Schedule, UsageError
from tests.runtime.stage import make_app
from tests.saga import shop

HOUR = timedelta(hours=1)


def order_of(moment: datetime) -> shop.PlaceOrder:
    return shop.ORDER.model_copy(update={"order_id": moment.isoformat()})


def something(moment: datetime) -> Message:
    return shop.ORDER


def of_two(moment: datetime, other: datetime) -> shop.PlaceOrder:
    return shop.ORDER


async def late_order(moment: datetime) -> shop.PlaceOrder:
    return shop.ORDER


def declared(name: str = "orders", **given: Any) -> Schedule:
    return Schedule(name, shop.order_saga, **{"start": order_of, "every": HOUR, **given})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": "No Name"}, "'No Name' is no name for a schedule."),
        ({"tz": "Europe/Brelin"}, "schedule 'orders': tz='Europe/Brelin' is no time zone."),
        ({"every": None}, "schedule 'orders' needs cron= or every=, and not both."),
        ({"cron": "0 2 * * *"}, "schedule 'orders' needs cron= or every=, and not both."),
        ({"every": timedelta(milliseconds=1500)}, "is not whole seconds."),
        ({"every": 3600}, "every=3600 is not whole seconds."),
        ({"anchor": datetime.fromisoformat("2026-01-01")}, "is no whole second with a zone."),
        ({"every": None, "cron": "0 2 * *"}, "schedule 'orders': cron='0 2 * *' is not five fields."),
        ({"every": None, "cron": "0 25 * * *"}, "cron='0 25 * * *' cannot be read: Bad hour."),
        ({"missed": "some"}, "missed='some' is none of them."),
        ({"late": timedelta(0)}, "is no time of a second or more."),
        ({"start": shop.charge_payment}, "charge_payment does not make a PlaceOrder of one moment."),
        ({"start": something}, "something does not make a PlaceOrder of one moment."),
        ({"start": of_two}, "of_two does not make a PlaceOrder of one moment."),
        ({"start": late_order}, "late_order does not make a PlaceOrder of one moment."),
        ({"start": shop.ORDER}, "is no function."),
    ],
)
def test_a_mistake_is_a_sentence_with_a_hint(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declared(**given)
    assert sentence in caught.value.sentence
    assert caught.value.hint


def test_a_time_that_never_comes_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"cannot be read|never comes"):
        declared(every=None, cron="0 0 30 2 *")


def test_it_starts_a_saga_of_its_own_application_and_has_a_name_of_its_own() -> None:
    app = make_app()
    sagas, services = app.sagas.values(), app.services.values()
    with pytest.raises(DeclarationError, match="Two schedules are called 'orders'"):
        App("shop", sagas=sagas, services=services, schedules=[declared(), declared()])
    with pytest.raises(DeclarationError, match="starts saga 'order', which is no part of this application"):
        App("shop", services=services, schedules=[declared()])
    with pytest.raises(DeclarationError, match="which is no Schedule"):
        App("shop", sagas=sagas, services=services, schedules=["0 2 * * *"])  # type: ignore[list-item]
    assert list(App("shop", sagas=sagas, services=services, schedules=[declared()]).within("apart").schedules) == [
        "orders"
    ]


def test_without_the_extra_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(DeclarationError, match="cron= needs a package that is not there") as caught:
        declared(every=None, cron="0 2 * * *")
    assert "choros[schedules]" in caught.value.hint
    assert declared().calendar.text == "every 1:00:00"


def test_start_is_asked_for_the_time_in_the_zone_and_what_it_makes_is_looked_at() -> None:
    schedule = declared(every=None, cron="0 2 * * *", tz="Europe/Berlin")
    moment = next(schedule.times(datetime.fromisoformat("2026-06-30T12:00:00+00:00")))
    made = schedule.message(moment)
    assert isinstance(made, shop.PlaceOrder) and made.order_id == "2026-07-01T02:00:00+02:00"

    def broken(moment: datetime) -> shop.PlaceOrder:
        raise KeyError(moment)

    with pytest.raises(UsageError, match=r"start of schedule 'orders' failed at .*: KeyError"):
        declared(start=broken).message(moment)

    def untrue(moment: datetime) -> shop.PlaceOrder:
        return shop.CHARGED  # type: ignore[return-value]

    with pytest.raises(UsageError, match="not a PlaceOrder"):
        declared(start=untrue).message(moment)
