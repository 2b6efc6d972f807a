"""A log line never fails whoever writes it: whatever it is about, whatever the host's logging does."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from choros.app.service import Service
from choros.messages import Command, Done
from choros.store.barrier import Transaction
from choros.telemetry.lines import configure_logging
from choros.telemetry.logs import described, get_logger
from tests.runtime.participant_stage import command, stage_for
from tests.runtime.whatever import EVERYTHING, Panic, bang


class Do(Command[Done]):
    how: str = ""


@pytest.fixture(autouse=True)
def _configuration() -> Iterator[None]:
    """As it was before."""
    root, ours = logging.getLogger(), logging.getLogger("choros")
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    ours.handlers[:] = []


@pytest.mark.parametrize("text", ["0", "1"])
def test_every_exception_can_be_described(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CHOROS_LOG_ERROR_TEXT", text)
    lines = io.StringIO()
    logging.getLogger().handlers[:] = []
    configure_logging("test", stream=lines, json=True)
    for make in EVERYTHING:
        error = make()
        assert described(error)["error"] == type(error).__name__
        get_logger("choros.test").error("it failed", error=error)
    assert len(lines.getvalue().splitlines()) == len(EVERYTHING)


class Broken(logging.Handler):
    """A handler of the host's that raises whatever there is."""

    def emit(self, record: logging.LogRecord) -> None:
        raise Panic


async def test_work_goes_on_where_the_log_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a handler of the host's, or because what it writes to is gone."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    gone = io.StringIO()
    gone.close()
    for broken in (Broken(), logging.StreamHandler(gone)):
        logging.getLogger("choros").handlers[:] = [broken]
        service = Service("payment")

        @service.handles(Do)
        async def do(command: Do, db: Transaction) -> Done:
            bang(command.how)
            return Done()

        async with stage_for(service) as stage:
            failed, ok = await stage.ask(command(Do(how="0"), saga="s1"), command(Do(), saga="s2"))
            assert (failed.outcome, ok.outcome) == ("failed", "ok")
