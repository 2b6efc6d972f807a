"""What may be set from outside: one table, checked in one place, and who wins where two have set it."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from choros.app.service import Service
from choros.app.settings import NOTHING_SET, SETTINGS, Settings, seconds_of
from choros.cli import app as cli
from choros.cli import application
from choros.errors import UsageError
from choros.messages import Command, Done

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


class Wash(Command[Done]):
    pass


async def wash(command: Wash) -> Done:
    return Done()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("0.5", 0.5), ("500ms", 0.5), ("1.5m", 90), ("2h", 7200), ("1h30m", 5400), ("7d", 604_800)],
)
def test_a_time_as_it_is_typed(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    "text", ["soon", "30 s", "-1", "-5m", "1h-30m", "nan", "inf", "1e3", "0x10", "5w", "٣", "30s30", "9" * 400, "1_0"]
)
def test_what_is_no_value_is_refused_in_a_sentence(name: str, text: str) -> None:
    with pytest.raises(UsageError) as raised:
        Settings.read({name: text})
    assert SETTINGS[name].flag in raised.value.sentence
    assert SETTINGS[name].variable in raised.value.sentence
    assert raised.value.hint


@pytest.mark.parametrize("name", SETTINGS)
def test_the_ends_are_allowed_and_what_lies_beyond_is_not(name: str) -> None:
    setting = SETTINGS[name]
    value: Any = int if setting.kind == "number" else lambda seconds: timedelta(seconds=seconds)
    for end in (setting.least, setting.most, setting.default):
        assert Settings(**{name: value(end)}) != NOTHING_SET
    for beyond in (setting.least - 1, setting.most + 1):
        with pytest.raises(UsageError):
            Settings(**{name: value(beyond)})


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("value", [True, "10", 1.5, b"1"])
def test_a_value_of_another_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError):
        Settings(**{name: value})


def test_whoever_is_closer_to_the_machine_wins() -> None:
    outside, declared = Settings(prefetch=5), Settings(prefetch=7, drain=timedelta(seconds=1))
    both = outside.over(declared)
    assert (both.number("prefetch"), both.seconds("drain"), both.seconds("handler_time")) == (5, 1.0, 300.0)
    assert NOTHING_SET.over(declared) == declared


def test_empty_says_nothing() -> None:
    assert Settings.read({"prefetch": "", "drain": None}) == NOTHING_SET


def test_an_age_may_be_for_ever_and_nothing_else_may() -> None:
    kept = Settings.read({"keep_sagas": "forever", "keep_start_keys": "2d"})
    assert (kept.age("keep_sagas"), kept.age("keep_start_keys")) == (None, timedelta(days=2))
    assert (NOTHING_SET.age("keep_sagas"), NOTHING_SET.age("keep_start_keys")) == (
        timedelta(days=30),
        timedelta(days=365),
    )
    with pytest.raises(UsageError, match="drain") as raised:
        Settings.read({"drain": "forever"})
    assert "from 0 s to 1 d; the default is 10 s" in raised.value.hint


def test_a_handler_may_have_settings_of_its_own() -> None:
    service = Service("laundry")
    service.handles(Wash, concurrency=2, handler_time=timedelta(seconds=3))(wash)
    assert service.handlers["wash.v1"].settings == Settings(concurrency=2, handler_time=timedelta(seconds=3))
    for register in (service.handles, service.provider):
        with pytest.raises(UsageError):
            register(Wash, concurrency=0)


def test_every_setting_is_a_field_a_flag_and_a_row_of_the_guide() -> None:
    assert [one.name for one in fields(Settings)] == list(SETTINGS)
    guide = GUIDE.read_text(encoding="utf-8")
    for setting in SETTINGS.values():
        assert f"| `{setting.name}` | `{setting.flag}` | `{setting.variable}` |" in guide


def test_flags_and_environment_reach_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []

    async def run_role(*_: Any, settings: Settings, **__: Any) -> None:
        seen.append(settings)

    monkeypatch.setattr(application, "run_role", run_role)
    monkeypatch.setattr(application, "configure_logging", lambda *_, **__: None)
    for setting in SETTINGS.values():
        monkeypatch.setenv(setting.variable, "7" if setting.least <= 7 else "7h")
    command = ["run", "reference_services.payment", "--role", "service:payment", "--drain", "1m", "--concurrency", "3"]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    seven = timedelta(seconds=7)
    wanted = Settings(
        prefetch=7,
        concurrency=3,
        threads=7,
        handler_time=seven,
        forget_after=timedelta(hours=7),
        remember=timedelta(hours=7),
        clock_skew=seven,
        drain=timedelta(minutes=1),
        wait=seven,
        keep_sagas=seven,
        keep_start_keys=seven,
    )
    assert seen == [wanted]


def test_a_bad_flag_ends_the_command_before_anything_is_connected() -> None:
    with pytest.raises(UsageError, match="--drain"):
        CliRunner().invoke(cli, ["run", "reference_services.payment", "--drain", "-1s"], catch_exceptions=False)
