"""Whoever finishes a command from outside is killed between any two of its steps: it happened once, or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from choros.messages import Failure
from choros.runtime.participant.unfinished import Unfinished
from choros.store.barrier import Transaction
from choros.store.sqlite.barrier import SqliteDatabase
from choros.store.sqlite.transaction import SqliteTransaction
from choros.store.sqlite.waiting import WaitingThread
from tests.runtime.participant_stage import Charge, Charged, command, effect, read_effects, stage_for
from tests.runtime.test_unfinished import own

DO = command(Charge(order="o1"))
PAID = Charged(payment="p1")
STEPS = (
    (WaitingThread, "begin"), (SqliteTransaction, "read_row"), (SqliteTransaction, "write_row"),
    (SqliteTransaction, "execute"), (WaitingThread, "commit"),
)  # fmt: skip
MOST = 20
"""More moments than there are."""


async def finish(path: Path) -> str:
    """As a webhook does, on its own connection."""
    database = SqliteDatabase(path, "shop.payment")
    await database.open()

    async def paid(db: Transaction) -> None:
        await effect(db, "paid", 1)

    try:
        return await Unfinished(own(["pi_1"]), database, namespace="shop").complete("pi_1", PAID, effect=paid)
    finally:
        await database.close()


def killed_at(moment: int, path: Path) -> bool:
    """Whether a process that finishes it was killed before it came to an end."""
    child = os.fork()
    if child == 0:
        _dies_at(moment, path)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _dies_at(moment: int, path: Path) -> NoReturn:
    """Before each of its steps is a moment, and after the last one."""
    passed = 0

    def stepping(step: Callable[..., Any]) -> Callable[..., Any]:
        async def stepped(*given: Any, **named: Any) -> Any:
            pass_by()
            result = await step(*given, **named)
            pass_by()
            return result

        return stepped

    def pass_by() -> None:
        nonlocal passed
        if passed == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    try:
        for owner, name in STEPS:
            setattr(owner, name, stepping(getattr(owner, name)))
        asyncio.run(finish(path))
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_killed_between_any_two_steps_it_is_finished_once(tmp_path: Path) -> None:
    ends = []
    for moment in range(MOST):
        path = tmp_path / f"{moment}.db"
        async with stage_for(own(["pi_1"]), SqliteDatabase(path, "shop.payment"), scan_every=0.02) as stage:
            (taken,) = await stage.ask(DO)
            assert Failure.from_json(taken.data).code == "unfinished"
            await stage.kill()
            killed = await asyncio.to_thread(killed_at, moment, path)
            before = (await read_effects(stage.database)).get("paid", 0)
            assert len(await stage.database.listed("unfinished", 9)) == 1 - before  # both or neither
            again = await finish(path)
            stage.restart_from_nothing()
            (reply,) = await stage.replies(1)
            assert (reply.outcome, (await read_effects(stage.database))["paid"]) == ("ok", 1)
        ends.append((before, again))
        if not killed:
            break
    assert ends[0] == (0, "finished")
    assert ends[-1] == (1, "repeated")
    assert 8 < len(ends) < MOST
