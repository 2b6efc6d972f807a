"""When a schedule ticks, over the days on which clocks are changed too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from choros.app.calendar import EPOCH, Calendar, Interval, cron

BERLIN = ZoneInfo("Europe/Berlin")
FORWARD = "2026-03-29"
"""Clocks go from 2 to 3 there."""
BACK = "2026-10-25"
"""And from 3 to 2."""


def on_the_day(calendar: Calendar, day: str, zone: ZoneInfo = BERLIN) -> list[str]:
    """The times that fall on this day: what the wall shows, and in UTC."""
    after = datetime.fromisoformat(day).replace(tzinfo=zone) - timedelta(seconds=1)
    found = []
    while str((after := calendar.after(after)).astimezone(zone).date()) == day:
        found.append(f"{after.astimezone(zone):%H:%M} {after:%H:%M}")
    return found


@pytest.mark.parametrize(
    ("fields", "forward", "back"),
    [
        ("0 2 * * *", ["03:00 01:00"], ["02:00 00:00"]),
        ("30 2 * * *", ["03:00 01:00"], ["02:30 00:30"]),
        ("0,30 2 * * *", ["03:00 01:00"], ["02:00 00:00", "02:30 00:30"]),
        ("0 3 * * *", ["03:00 01:00"], ["03:00 02:00"]),
        ("*/30 2 * * *", [], ["02:00 00:00", "02:30 00:30", "02:00 01:00", "02:30 01:30"]),
    ],
)
def test_a_time_that_is_given_is_reached_once_and_what_goes_on_follows_the_clock(
    fields: str, forward: list[str], back: list[str]
) -> None:
    calendar = cron(fields, BERLIN)
    assert (on_the_day(calendar, FORWARD), on_the_day(calendar, BACK)) == (forward, back)


def test_every_hour_of_the_wall_is_every_real_hour() -> None:
    calendar = cron("30 * * * *", BERLIN)
    assert (len(on_the_day(calendar, FORWARD)), len(on_the_day(calendar, BACK))) == (23, 25)


def test_an_interval_counts_real_time_from_its_anchor() -> None:
    six = Interval(timedelta(hours=6))
    assert on_the_day(six, FORWARD) == ["01:00 00:00", "08:00 06:00", "14:00 12:00", "20:00 18:00"]
    assert on_the_day(six, BACK) == ["02:00 00:00", "07:00 06:00", "13:00 12:00", "19:00 18:00"]
    since_noon = Interval(timedelta(days=1), datetime(2026, 1, 1, 12, tzinfo=BERLIN))
    assert (on_the_day(since_noon, "2026-02-01"), on_the_day(since_noon, "2026-07-01")) == (
        ["12:00 11:00"],
        ["13:00 11:00"],
    )


CALENDARS = (
    *(cron(fields, BERLIN) for fields in ("30 2 * * *", "*/30 2 * * *", "0 */6 1,15 * *", "10,50 1-3 * * 0")),
    cron("0 0 29 2 *", ZoneInfo("America/New_York")),
    Interval(timedelta(minutes=7), EPOCH + timedelta(seconds=11)),
)


def seconds(first: str, last: str) -> st.SearchStrategy[float]:
    begin, end = (datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() for day in (first, last))
    return st.one_of(st.integers(int(begin), int(end)).map(float), st.floats(begin, end))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(CALENDARS),
    st.one_of(
        seconds("2026-03-28", "2026-03-31"), seconds("2026-10-24", "2026-10-27"), seconds("2020-01-01", "2040-01-01")
    ),
)
def test_the_last_time_before_a_moment_is_the_one_before_the_next(calendar: Calendar, at: float) -> None:
    moment = datetime.fromtimestamp(at, UTC)
    latest, following = calendar.latest(moment), calendar.after(moment)
    assert latest <= moment < following
    assert calendar.after(latest) == following
    assert calendar.latest(latest) == latest
