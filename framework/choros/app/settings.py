"""What may be set about a running service: in its declaration, by environment, by flags of `choros run`.

Whoever is closer to the machine wins: a flag over the environment, both over `Service(settings=...)`, that over the
default. What a single handler says of itself (`handles(..., concurrency=, handler_time=)`) stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Literal

from choros.errors import UsageError
from choros.sources import CLOCK_SKEW

_DAY = 86_400.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_TIME = re.compile(rf"(?:{_PART.pattern})+")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
FOREVER = 100 * 365 * 86_400.0
"""An age of so many seconds, typed as `forever`, is none."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that may be set."""

    name: str
    kind: Literal["number", "time"]
    default: float
    """Of a time, in seconds, like its bounds."""
    least: float
    most: float
    says: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"CHOROS_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The option of `choros run` that sets it."""
        return f"--{self.name.replace('_', '-')}"

    def read(self, text: str) -> Any:
        """From what was typed; raises UsageError."""
        try:
            seconds = FOREVER if text == "forever" and self.most == FOREVER else seconds_of(text)
            value = timedelta(seconds=seconds) if self.kind == "time" else int(text)
        except (ValueError, OverflowError):
            raise self._wrong(text) from None
        return self.checked(value)

    def checked(self, value: Any) -> Any:
        """The value, if it is one; raises UsageError."""
        size = value.total_seconds() if isinstance(value, timedelta) else value
        fits = isinstance(value, timedelta if self.kind == "time" else int) and not isinstance(value, bool)
        if not fits or not self.least <= size <= self.most:
            raise self._wrong(value)
        return value

    def shown(self, value: float) -> str:
        """One of its values, for a person."""
        if self.kind == "number":
            return f"{value:g}"
        if value == FOREVER:
            return "forever"
        return f"{value:g} s" if value % 86_400 or not value else f"{value / 86_400:g} d"

    def _wrong(self, value: object) -> UsageError:
        given = "a time, such as 500ms, 30s or 1h30m," if self.kind == "time" else "a whole number"
        least, most, default = map(self.shown, (self.least, self.most, self.default))
        hint = f"{given} from {least} to {most}; the default is {default}."
        return UsageError(f"{self.flag} (settings, {self.variable}): {value!r} is not allowed.", hint)


_ALL = (
    Setting("prefetch", "number", 64, 1, 65_535, "messages that may be with a service unsettled"),
    Setting("concurrency", "number", 64, 1, 65_535, "handlers of a service that may be at work at the same time"),
    Setting("threads", "number", 8, 1, 1_000, "threads of a service for handlers that are written without async"),
    Setting("handler_time", "time", 300, 0.001, 604_800, "how long one call of a handler may take"),
    Setting(
        "forget_after", "time", 90 * _DAY, 3600, FOREVER,
        "how long a participant knows what it has done, from when it did it",
    ),
    Setting(
        "remember", "time", 8 * _DAY, 3600, FOREVER,
        "how long a subscriber knows what it has handled; where nobody says, a day longer than the fact log is kept",
    ),
    Setting(
        "clock_skew", "time", CLOCK_SKEW, 0, 3600,
        "how far the clocks of a service's replicas, and of whoever commands it, may differ",
    ),
    Setting("drain", "time", 10, 0, 86_400, "how long what is under way may take to finish when the role stops"),
    Setting("wait", "time", 60, 0, 86_400, "how long a role that starts waits for a broker or store that is away"),
    Setting("keep_sagas", "time", 30 * _DAY, 0, FOREVER, "how long sagas are kept after their end, or forever"),
    Setting("keep_start_keys", "time", 365 * _DAY, 0, FOREVER, "how long the start keys of deleted sagas are, too"),
)  # fmt: skip
SETTINGS: Mapping[str, Setting] = {setting.name: setting for setting in _ALL}
"""All of them, by name: a field of `Settings`, an option of `choros run`, and a row of the guide's table each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What somebody has set; None is: nothing said. Raises UsageError for a value that cannot be."""

    prefetch: int | None = None
    concurrency: int | None = None
    threads: int | None = None
    handler_time: timedelta | None = None
    forget_after: timedelta | None = None
    remember: timedelta | None = None
    clock_skew: timedelta | None = None
    drain: timedelta | None = None
    wait: timedelta | None = None
    keep_sagas: timedelta | None = None
    keep_start_keys: timedelta | None = None

    def __post_init__(self) -> None:
        for name, setting in SETTINGS.items():
            if (value := getattr(self, name)) is not None:
                setting.checked(value)

    @classmethod
    def read(cls, given: Mapping[str, str | None]) -> Settings:
        """From texts by name; one that is empty or None says nothing."""
        return cls(**{name: SETTINGS[name].read(text.strip()) for name, text in given.items() if text})

    def over(self, other: Settings) -> Settings:
        """As here, and what is not said here, as there."""
        return Settings(**{one.name: _first(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)})

    def number(self, name: str) -> int:
        """How many, or the default."""
        return int(_first(getattr(self, name), SETTINGS[name].default))

    def seconds(self, name: str) -> float:
        """How long, or the default."""
        time: timedelta | None = getattr(self, name)
        return SETTINGS[name].default if time is None else time.total_seconds()

    def age(self, name: str) -> timedelta | None:
        """How old something may become; None for ever."""
        seconds = self.seconds(name)
        return None if seconds >= FOREVER else timedelta(seconds=seconds)


NOTHING_SET = Settings()
"""As the defaults are."""


def seconds_of(text: str) -> float:
    """`30`, `1.5s`, `500ms`, `1h30m`, `30d` in seconds; raises ValueError."""
    if _TIME.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if _NUMBER.fullmatch(text):
        return float(text)
    raise ValueError(text)


def _first(here: Any, there: Any) -> Any:
    return there if here is None else here
