"""A row that this version cannot read is named once and left alone; whatever is beside it goes out as ever."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import choros
from choros.messages import Failure
from choros.runtime.host.relay import SCAN_LIMIT
from choros.runtime.participant.answers import UnreadableRow, answer, kept, stored
from choros.store.barrier import Database, Ok, Row
from choros.store.memory.barrier import MemoryDatabase
from choros.store.redis.barrier import RedisDatabase
from choros.store.sqlite.barrier import SqliteDatabase
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE
from tests.runtime.participant_stage import (
    NOW,
    Charge,
    Charged,
    Refund,
    Stage,
    close,
    command,
    eventually,
    make_service,
    stage_for,
)


def test_what_a_row_of_each_kind_holds_is_written_and_read_in_one_file() -> None:
    runtime = Path(choros.__file__).parent / "runtime"
    holding = re.compile(r"\.content\b|\bcontent=|\.keeping\(")
    found = {path.stem for path in runtime.rglob("*.py") if holding.search(path.read_text())}
    assert found == {"answers", "closing", "effect_rows", "inbox", "outbox_rows", "start_outbox"}


def reply(saga: str) -> Envelope:
    return answer(command(Charge(order="o1"), saga=saga), "/shop/payment", NOW, Charged(payment="p"))


GOOD: Mapping[str, Any] = json.loads(reply("s0").dumps())
WRONG: list[Any] = [None, 7, -1.5, True, "", "\ud800", "\n", "x" * 1000, [], {}, ["a"], {"a": 1}, 1e300]
OPTIONAL = {"subject", "traceparent", "tracestate", "reply_to", "not_after", "stream", "seq"}
"""What a reply need not have, or has not."""


def damaged() -> dict[str, str]:
    """Every stored field missing, or holding what it never holds; a field more; and what is no envelope at all."""
    found = {
        "newer": json.dumps({**GOOD, "priority": 3}),
        "no JSON": "{",
        "nothing": " ",
        "a list": "[]",
        "a number": "1",
        "null": "null",
        "deep": "[" * 100_000,
        "a command": command(Charge(order="o1")).dumps(),
        "huge": json.dumps({**GOOD, "data": "x" * 2_000_000}),
    }
    for field in (field.name for field in dataclasses.fields(Envelope)):
        if field not in OPTIONAL and field != "to":
            found[f"no {field}"] = json.dumps({name: value for name, value in GOOD.items() if name != field})
        for number, wrong in enumerate(WRONG):
            if wrong != GOOD.get(field):
                found[f"{field} {number}"] = json.dumps({**GOOD, field: wrong})
    return found


DAMAGED = damaged()


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.servers)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "redis":
        return RedisDatabase(request.getfixturevalue("redis_url"), request.getfixturevalue("namespace"))
    return MemoryDatabase() if request.param == "memory" else SqliteDatabase(tmp_path / "p.db")


@pytest.fixture
async def stage(database: Database) -> AsyncIterator[Stage]:
    async with stage_for(make_service(), database, start=False, scan_every=0.01) as made:
        yield made


async def put(stage: Stage, *rows: Row) -> None:
    async def write(transaction: Any) -> None:
        for row in rows:
            await transaction.write_row(row)

    assert await stage.database.inner.run([write]) == [Ok(None)]


def test_what_is_kept_is_read_whole_or_not_at_all() -> None:
    """Nothing of it is lost on the way."""
    read = [text for text in DAMAGED.values() if readable(Row(key="k", state="ok", content=text))]
    assert 0 < len(read) < len(DAMAGED) / 4
    for text in read:
        envelope = stored(Row(key="k", state="ok", content=text)).reply
        assert json.loads(text).keys() <= {field.name for field in dataclasses.fields(Envelope)}
        assert kept(Row(key="k", state="ok", content=envelope.dumps())) == envelope


async def test_every_unreadable_reply_at_once(stage: Stage) -> None:
    """They lie in front of the good ones, more of them than one scan takes."""
    bad = [Row(key=f"bad{n}:{what}", state="ok", content=text) for n in range(3) for what, text in DAMAGED.items()]
    bad = [row for row in bad if not readable(row)]
    assert len(bad) > SCAN_LIMIT
    good = [Row(key=f"s{n}:charge:1:do", state="ok", content=reply(f"s{n}").dumps()) for n in range(5)]
    await put(stage, *bad[:100], *good[:2], *bad[100:], *good[2:])
    stage.start()
    assert {one.correlation_id for one in await stage.replies(5)} == {f"s{n}" for n in range(5)}
    (ok,) = await stage.ask(command(Charge(order="o9"), saga="s9"))
    assert ok.outcome == "ok"
    await eventually(lambda: stage.counts["unreadable"] == len(bad))
    await unsent_are(stage, {row.key for row in bad})
    assert stage.running is not None and not stage.running.done()


async def unsent_are(stage: Stage, keys: set[str]) -> None:
    """Marks of what was sent come a moment later."""
    async with asyncio.timeout(PATIENCE):
        while {row.key for row in await stage.database.unsent(10_000)} != keys:
            await asyncio.sleep(0.01)


def readable(row: Row) -> bool:
    try:
        kept(row)
    except UnreadableRow:
        return False
    return True


async def test_a_newer_version_sends_what_this_one_left(stage: Stage) -> None:
    row = Row(key="s0:charge:1:do", state="ok", content=DAMAGED["newer"])
    await put(stage, row)
    stage.start()
    await eventually(lambda: stage.counts.get("unreadable") == 1)
    (left,) = await stage.database.unsent(10)
    assert left == row
    await put(stage, Row(key=row.key, state="ok", content=json.dumps(GOOD)))  # as far as that one is concerned
    (sent,) = await stage.replies(1)
    assert sent.correlation_id == "s0"
    assert stage.counts["unreadable"] == 1


@pytest.mark.parametrize("state", ["ok", "refused", "tombstone", "intent", "promised"])
@pytest.mark.parametrize("what", ["newer", "no JSON", "a list", "a command"])
async def test_a_command_that_meets_an_unreadable_row_fails_for_now(state: Any, what: str) -> None:
    """Whatever asks: an older version must not decide what a newer one has decided otherwise."""
    async with stage_for(make_service()) as stage:
        await put(stage, Row(key="s1:charge:1:do", state=state, content=DAMAGED[what]))
        await put(stage, Row(key="s2:charge:1:undo", state=state, content=DAMAGED[what]))
        asked = [
            command(Charge(order="o1")),
            close("do"),
            command(Refund(order="o1"), "undo", saga="s2"),
            command(Charge(order="o3"), saga="s3"),
        ]
        found = {one.key: one for one in [(await stage.ask(one))[0] for one in asked]}
        for one in asked[:3]:
            answered = found[one.key]
            if answered.outcome == "failed":
                assert Failure.from_json(answered.data).code in ("UnreadableRow", "BrokenBarrier")
            else:  # a tombstone is closed already
                assert (state, answered.type) in (("tombstone", "choros.closed.v1"), ("promised", "choros.closed.v1"))
        assert found["s3:charge:1:do"].outcome == "ok"
        assert stage.running is not None and not stage.running.done()


@pytest.mark.servers
@pytest.mark.parametrize("text", ['["ok","{}",null,"t","newer"]', "{}", "{", "1", "null"])
async def test_a_row_of_redis_that_is_no_row(redis_url: str, namespace: str, text: str) -> None:
    """It hides no other."""
    database = RedisDatabase(redis_url, namespace)
    async with stage_for(make_service(), database, start=False, scan_every=0.01) as stage:
        await put(stage, Row(key="bad", state="ok", content="x"))
        await put(stage, Row(key="s0:charge:1:do", state="ok", content=json.dumps(GOOD)))
        await database._server.ask("SET", f"{database._prefix}row:bad", text)
        stage.start()
        (sent,) = await stage.replies(1)
        assert sent.correlation_id == "s0"
        await unsent_are(stage, {"bad"})
