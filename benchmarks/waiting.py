"""What sagas cost that wait to be told something: at rest, when one is told, and when they are listed.

`make bench-waiting`, or smaller: `make bench-waiting ARGS="--sagas 2000 --rounds 1 --told 50"`. Processor time of one
process in which the orchestrator runs, and of Redis; two stores, with few and with many that wait, take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median

from redis.asyncio import Redis

from benchmarks.measuring import cpu_of
from benchmarks.neighbour import LOOPS, loop_factory
from benchmarks.page import put
from benchmarks.report import Table, as_markdown, as_text, described, spread, this_machine
from choros.app.app import App
from choros.app.service import Service
from choros.cli.garbage import search_less
from choros.desk.open_waits import open_waits
from choros.messages import Command, Done, Message, Signal
from choros.roles.addresses import Addresses, store_at
from choros.roles.roles import running
from choros.runtime.client.client import Client
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Start, Unjudged, Work
from choros.saga.machine.inputs import SignalRequested
from choros.saga.nodes import Check, Pivot, Wait
from choros.saga.saga import Saga
from choros.sources import fresh_id, saga_id_for
from choros.store.sagas import Store, Transition
from choros.wire.envelope import Envelope
from tests.private_servers import PrivateRedis

FEW, AT_ONCE, IN_FLIGHT, LISTED = 1_000, 500, 50, 50
REST_SECONDS = 8.0
AT_REST, AS_FEW, AS_A_REPLY = 1.2, 1.3, 1.3
"""So many times as much it may cost at most: at rest, and to tell or list some, with many beside few; a signal beside a
reply."""
MARK, KEY = "00000000-0000-8000-8000-00000000beef", "KKKKKKKKKKKKK"


class Ask(Message, name="waiting.ask"):
    """Begins a saga."""

    number: str


class Told(Signal, name="waiting.told"):
    """What it waits for."""


class Answer(Command[Done], name="waiting.answer"):
    """What the other saga commands."""

    number: str


def answer(ask: Ask) -> Answer:
    """Its one step."""
    return Answer(number=ask.number)


def nothing(ask: Ask) -> Answer | None:
    """Sends nothing: what it is told is the end of the saga."""
    return None


told_once = Wait(Told, within=timedelta(days=90))
answered = Pivot(answer, to="oracle", timeout=timedelta(days=9))
asks = Saga("asks", start=Ask, key=lambda ask: ask.number, steps=(told_once, Check(nothing, to="oracle")))
does = Saga("does", start=Ask, key=lambda ask: ask.number, steps=(answered,))
THE_WAIT = next(path for path, leaf in asks.outline.leaves.items() if leaf.signals)
APP = App("waiting", sagas=[asks, does], services=[Service("oracle", commands=[Answer])])


@dataclass(frozen=True)
class Begun:
    """How a saga begins, stamped out as often as wanted."""

    transition: Transition

    def stamped(self, number: int, now: float) -> Transition:
        """One of them, whose command has left."""
        saga_id, key = id_of(self.transition.record.saga, number), f"number-{number:06}"
        record, wake_at = self.transition.record, self.transition.record.wake_at
        state = record.state.replace(MARK, saga_id).replace(KEY, key)
        wakes = None if wake_at is None else now + wake_at
        made = replace(record, saga_id=saga_id, key=key, state=state, started_at=now, updated_at=now, wake_at=wakes)
        return replace(self.transition, record=made, outbox=(), history="")

    def reply(self, number: int) -> Unjudged:
        """What the oracle answers to one of them."""
        sent = Envelope.loads(self.transition.outbox[0].envelope)
        saga_id = id_of(self.transition.record.saga, number)
        return Unjudged(
            Envelope(
                id=fresh_id(), kind="reply", type=Done.type_name, source="/waiting/oracle", time=0.0, data="{}",
                to=sent.reply_to, correlation_id=saga_id, causation_id=sent.id, key=sent.key.replace(MARK, saga_id),
                saga=sent.saga, saga_version=sent.saga_version, step=sent.step, attempt=sent.attempt, outcome="ok",
            )
        )  # fmt: skip


def id_of(saga: str, number: int) -> str:
    """The id of one of these."""
    return saga_id_for(f"waiting.{saga}", str(number))


def begun(saga: Saga[Ask]) -> Begun:
    """As the orchestrator decides it."""
    body = Ask(number=KEY).to_json()
    start = Start(fresh_id(), saga.name, 1, KEY, body, sha256(body.encode()).hexdigest())
    made = Transitions(APP, lambda: "waiting.replies.waiting").make([Work(MARK, start)], None, 0.0).transition
    assert made is not None
    return Begun(made)


WAITS, AWAITS = begun(asks), begun(does)


@dataclass(frozen=True)
class Field:
    """A store in which so many wait."""

    addresses: Addresses
    redis: PrivateRedis | None

    async def fill(self, waiting: int, awaiting: int) -> None:
        """So many that wait to be told, and others that await a reply."""
        store = store_at(self.addresses.store, APP.scope)
        await store.open()
        await self._durable("no")
        try:
            await _commit(store, WAITS, waiting)
            await _commit(store, AWAITS, awaiting)
        finally:
            await self._durable("always")
            await store.close()

    async def _durable(self, when: str) -> None:
        if self.redis:
            async with Redis.from_url(self.redis.url) as admin:
                await admin.config_set("appendfsync", when)

    def spent(self) -> float:
        """Seconds of the processor so far, of this process and of Redis."""
        return time.process_time() + (cpu_of(self.redis.pid) if self.redis else 0.0)


async def _commit(store: Store, pattern: Begun, count: int) -> None:
    for first in range(0, count, AT_ONCE):
        now = store.now()
        await store.commit([pattern.stamped(number, now) for number in range(first, min(count, first + AT_ONCE))])


@asynccontextmanager
async def field(kind: str, folder: Path) -> AsyncIterator[Field]:
    """An empty one."""
    name = fresh_id()[-12:]
    redis = PrivateRedis(folder / name) if kind == "redis" else None
    if redis:
        redis.start()
    try:
        store = redis.url if redis else f"sqlite:///{folder}/{name}.db"
        yield Field(Addresses("memory://", store, f"sqlite:///{folder}/{name}-{{service}}.db"), redis)
    finally:
        if redis:
            redis.stop()


# --- what is measured -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Of one turn on one store: milliseconds of processor time."""

    rest: float
    """In a second in which nothing happens."""
    signal: float
    reply: float
    listed: float
    """Of a list of the first fifty."""


async def cost(there: Field, first: int, told: int, seconds: float) -> Cost:
    """Of a turn which rests for so many seconds, and tells so many, from this one on."""
    async with running(APP, there.addresses) as client:
        await asyncio.sleep(seconds / 4)
        before, began = there.spent(), time.monotonic()
        await asyncio.sleep(seconds)
        rest = (there.spent() - before) / (time.monotonic() - began)
        numbers = range(first, first + told)
        signals = [Work(id_of("asks", one), SignalRequested(fresh_id(), THE_WAIT, "{}")) for one in numbers]
        replies = [Work(id_of("does", one), AWAITS.reply(one)) for one in numbers]
        signal, reply = [await _asked(there, client, works) / told for works in (signals, replies)]
        listed = await _listed(there, client)
    return Cost(1000 * rest, 1000 * signal, 1000 * reply, 1000 * listed)


async def _asked(there: Field, client: Client, works: Sequence[Work]) -> float:
    """Each ends a saga."""
    decider, left, before = client._decider, iter(works), there.spent()

    async def one_after_another() -> None:
        for work in left:
            done = await decider.ask(work)
            assert done.instance.terminal, done

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(one_after_another())
    return there.spent() - before


async def _listed(there: Field, client: Client) -> float:
    before = there.spent()
    for _ in range(5):
        found, more = await open_waits(APP.sagas, client._store, limit=LISTED)
        assert len(found) == LISTED
        assert more
    return (there.spent() - before) / 5


async def measured(kind: str, folder: Path, options: argparse.Namespace) -> Table:
    """With few that wait and with many, one right after the other in each round."""
    sagas, rounds, told = options.sagas, options.rounds, options.told
    async with field(kind, folder) as small, field(kind, folder) as large:
        for there, waiting in ((small, FEW), (large, sagas)):
            await there.fill(waiting + (rounds + 1) * told, (rounds + 1) * told)
        turns = [
            [await cost(there, turn * told, told, options.rest) for there in (small, large)]
            for turn in range(rounds + 1)
        ]
    few, many = ([turn[which] for turn in turns[1:]] for which in (0, 1))  # in the first, all is done that is done once
    return rows(kind, sagas, few, many)


HEAD = ("store", "ms of CPU", f"{FEW:,} wait", "many wait", "beside it", "at most")


def rows(kind: str, sagas: int, few: Sequence[Cost], many: Sequence[Cost]) -> Table:
    """A row for each, and whether that costs as much as it may."""
    looks: list[tuple[str, Callable[[Cost], float], float]] = [
        (f"a second at rest, {sagas:,} wait", lambda one: one.rest, AT_REST),
        ("a signal", lambda one: one.signal, AS_FEW),
        ("a reply", lambda one: one.reply, AS_FEW),
        (f"a list of {LISTED}", lambda one: one.listed, AS_FEW),
    ]
    found = [_row(kind, what, [*map(get, few)], [*map(get, many)], most) for what, get, most in looks]
    replies, signals = [one.reply for one in many], [one.signal for one in many]
    return [*found, _row(kind, f"a reply, and a signal, {sagas:,} wait", replies, signals, AS_A_REPLY)]


def _row(kind: str, what: str, one: Sequence[float], other: Sequence[float], most: float) -> Sequence[str]:
    ratios = [late / early for early, late in zip(one, other, strict=True)]
    held = f"{most}: {'yes' if median(ratios) <= most else '**no**'}"
    return (kind, what, spread(one, "{:.2f}"), spread(other, "{:.2f}"), spread(ratios), held)


async def tables(options: argparse.Namespace) -> Table:
    """All rows."""
    found: list[Sequence[str]] = [HEAD]
    for kind in options.stores.split(","):
        with tempfile.TemporaryDirectory(prefix="choros-waiting-") as folder:
            found += await measured(kind, Path(folder), options)
            print(f"{kind} is done", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--sagas", type=int, default=100_000, help="how many wait")
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--told", type=int, default=300, help="signals and replies in a round")
    given.add_argument("--rest", type=float, default=REST_SECONDS, help="seconds at rest in a round")
    given.add_argument("--stores", default="redis,sqlite")
    given.add_argument("--page", action="store_true", help="write the table into docs/performance.md")
    options = given.parse_args()
    logging.getLogger("choros").setLevel(logging.CRITICAL)
    this = described(this_machine(LOOPS[0]))
    search_less()
    with asyncio.Runner(loop_factory=loop_factory(LOOPS[0])) as runner:
        found = runner.run(tables(options))
    print("\n\n".join([this, as_text(found)]))
    if options.page:
        put("waiting", "\n\n".join([this, as_markdown(found)]))


if __name__ == "__main__":
    main()
