"""An application with local steps, whose orchestrator dies once, where the environment says: `choros run` finds it.

`TILL_DIES` is the moment, `TILL_MARK` a file that says that it has died there already. Each effect adds a line, so that
one that comes twice is seen."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from choros import App, Command, Done, Local, Message, RedisTransaction, Saga, Service, SqliteTransaction, Transaction
from choros.runtime.orchestrator.outboxes import Outboxes
from choros.transport.handover import Handover
from choros.transport.port import Published
from choros.wire.envelope import Envelope

DIES = os.environ.get("TILL_DIES", "")
TIMEOUT = timedelta(seconds=2) if DIES == "in the handler" else timedelta(hours=1)
"""What was in hand comes again by its timer; all else is found, however long that has to go."""


class TakeMoney(Message):
    name: str


class CountMoney(Command[Done]):
    name: str


class ReturnMoney(Command[Done]):
    name: str


def count_money(taken: TakeMoney) -> CountMoney:
    return CountMoney(name=taken.name)


def return_money(taken: TakeMoney) -> ReturnMoney:
    return ReturnMoney(name=taken.name)


till = Service("till")
taking = Saga(
    "taking",
    start=TakeMoney,
    key=lambda taken: taken.name,
    steps=(
        Local(count_money, to="till", compensation=return_money, timeout=TIMEOUT),
        Local(count_money, to="till", compensation=return_money, timeout=TIMEOUT, name="count_again"),
    ),
)


@till.prepares
async def create_table(db: Transaction) -> None:
    if isinstance(db, SqliteTransaction):
        await db.execute("CREATE TABLE IF NOT EXISTS counted (name TEXT)")


@till.handles(CountMoney)
async def count(command: CountMoney, db: Transaction) -> Done:
    if isinstance(db, SqliteTransaction):
        await db.execute("INSERT INTO counted VALUES (?)", (command.name,))
    elif isinstance(db, RedisTransaction):
        await db.rpush(f"{command.name}:counted", command.name)
    die("in the handler")
    return Done()


@till.handles(ReturnMoney)
async def give_back(command: ReturnMoney, db: Transaction) -> Done:
    return Done()


app = App("till", sagas=[taking], services=[till])


def die(moment: str) -> None:
    """By SIGKILL, the first time that it comes there."""
    mark = Path(os.environ.get("TILL_MARK", "/nowhere"))
    if moment == DIES and mark.parent.is_dir() and not mark.exists():
        mark.write_text(moment)
        os.kill(os.getpid(), signal.SIGKILL)


def _dying(send: Any) -> Any:
    async def dies(self: Handover, messages: Sequence[Envelope]) -> Sequence[Published]:
        die("before the handler" if messages[0].kind == "command" else "before the reply")
        answers: Sequence[Published] = await send(self, messages)
        return answers

    return dies


def _dying_before(commit: Any) -> Any:
    async def dies(self: Outboxes, batch: Sequence[Any]) -> Any:
        if any(one.record.version > 1 for one in batch):
            die("before its decision")
        return await commit(self, batch)

    return dies


if DIES:
    Handover.send = _dying(Handover.send)  # type: ignore[method-assign]
    Outboxes.commit = _dying_before(Outboxes.commit)  # type: ignore[method-assign]
