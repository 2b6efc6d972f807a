"""A log line never fails whoever writes it: whatever it is about, whatever the host's logging does."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from choros.messages import Command, Done
from choros.runtime.service import Service
from choros.runtime.telemetry import configure_logging, described, get_logger
from choros.store.barrier import Transaction
from tests.runtime.participant_stage import command, stage_for
from tests.runtime.whatever import EVERYTHING, Panic, bang


class Do(Command[Done]):
    how: str = ""


@pytest.fixture(autouse=True)
def _configuration() -> Iterator[None]:
    """As it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("text", ["", "1"])
def test_every_exception_can_be_described(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CHOROS_LOG_ERROR_TEXT", text)
    lines = io.StringIO()
    configure_logging("test", stream=lines, json=True)
    for make in EVERYTHING:
        error = make()
        assert described(error)["error"] == type(error).__name__
        get_logger("test").error("it failed", exc_info=error, **described(error))
    assert len(lines.getvalue().splitlines()) == len(EVERYTHING)


def fails(*_: Any) -> Any:
    raise Panic


async def test_work_goes_on_where_the_log_is_broken() -> None:
    """By a processor of the host's, or because what it writes to is gone."""
    gone = io.StringIO()
    gone.close()
    broken: tuple[dict[str, Any], ...] = (
        dict(processors=[fails]),
        dict(logger_factory=structlog.PrintLoggerFactory(gone)),
    )
    for configuration in broken:
        structlog.reset_defaults()
        structlog.configure(**configuration)
        service = Service("payment")

        @service.handles(Do)
        async def do(command: Do, db: Transaction) -> Done:
            bang(command.how)
            return Done()

        async with stage_for(service) as stage:
            failed, ok = await stage.ask(command(Do(how="0"), saga="s1"), command(Do(), saga="s2"))
            assert (failed.outcome, ok.outcome) == ("failed", "ok")
