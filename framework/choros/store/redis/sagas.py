"""The Redis store: one atomic script for each transition, one round trip for a batch, no retries by the client."""

from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

from pydantic_core import to_json

from choros import sources
from choros.sources import rerun_id_for
from choros.store.clock import ServerClock
from choros.store.paging import Position, end_of, page_of
from choros.store.records import history_row_of, left_of, listed, record_of, unreadable
from choros.store.redis import schema as redis_schema
from choros.store.redis.errors import is_of_what_is_stored
from choros.store.redis.scripts import COMMIT, DUE, FORGET, LOAD, MARK_SENT, PUT_OFF
from choros.store.redis.server import RedisCommand, Server
from choros.store.sagas import (
    LABEL,
    LIVE,
    NOTHING,
    Channel,
    Committed,
    EntryNames,
    Forgotten,
    HistoryRow,
    Kind,
    KnownKinds,
    Loaded,
    Page,
    PutOff,
    Record,
    Room,
    Transition,
    Unsent,
    handed_out,
)
from choros.store.schema import Upgraded
from choros.telemetry.logs import get_logger

log = get_logger(__name__)

_HEAD = (
    "saga", "saga_version", "key", "digest", "application", "status", "started_at", "updated_at", "wake_at", "received",
    "undecided", "fingerprint", "late",
)  # fmt: skip
"""All of a record but its state, which is JSON already and would only be escaped again."""
_LATER = {"fingerprint": "", "late": 0}
"""What the last of them are where an older choros wrote it: schema version 1 had no fingerprint, 2 no count of late
replies."""
_LOAD_AT_ONCE = 64
"""Records that one script reads: a script blocks the server while it runs."""


class RedisStore:
    """Saga instances in one Redis primary that never evicts. `namespace` keeps applications apart.

    What a commit survives is what the server is configured for: with `appendonly yes` and `appendfsync always` a
    crash and a power cut; a failover to a replica may take acknowledged sagas back to an earlier state.
    """

    lasting = True
    """Whether what it holds, and its identity, outlive the process."""

    def __init__(self, url: str, namespace: str = "choros", *, connections: int = 4, timeout: float = 5.0) -> None:
        self._server = Server(url, connections, timeout)
        self._prefix = f"{{{namespace}}}:"
        self._clock = ServerClock()
        self.identity = ""
        """What tells what is stored here from every other store."""

    async def open(self) -> None:
        """Connect, and refuse a server that could forget what it acknowledged."""
        await self._server.check()
        asked_at = sources.now()
        self._clock.said(_seconds(await self._server.ask("TIME")), asked_at)
        await redis_schema.prepare(self._server, self._prefix)
        self.identity = await redis_schema.identity_of(self._server, self._prefix)

    async def schema_version(self) -> int:
        """How what is stored is laid out, 0 where nothing is."""
        return await redis_schema.version_of(self._server, self._prefix)

    async def upgrade(self) -> Upgraded:
        """Lay out anew what an older choros has stored; interrupted, it goes on when asked again."""
        return await redis_schema.upgrade(self._server, self._prefix)

    async def close(self) -> None:
        """Close every connection."""
        await self._server.close()

    def now(self) -> float:
        """The server's clock: this machine's and a difference that every look for due timers measures anew."""
        return self._clock.now()

    async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
        """The records that exist among these, each with the entries wanted of it."""
        chunks = [saga_ids[i : i + _LOAD_AT_ONCE] for i in range(0, len(saga_ids), _LOAD_AT_ONCE)]
        calls = [self._load_call(chunk, wanted) for chunk in chunks]
        answers = await self._server.run(LOAD, calls) if calls else []
        return {
            saga_id: _left(saga_id, found) if isinstance(found, str) else _to_loaded(saga_id, *found)
            for chunk, answer in zip(chunks, answers, strict=True)
            for saga_id, found in zip(chunk, answer, strict=True)
            if found
        }

    def _load_call(self, saga_ids: Sequence[str], wanted: EntryNames) -> RedisCommand:
        asked: list[str | int] = []
        for saga_id in saga_ids:
            names = wanted.get(saga_id, ())
            asked += (saga_id, -1) if names is None else (saga_id, len(names), *names)
        return LOAD.call([self._saga(one) for one in saga_ids], self._prefix, *asked)

    def _saga(self, saga_id: str) -> str:
        return f"{self._prefix}saga:{saga_id}"

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        """Store each transition whole or not at all. Where the answer is lost it may have happened."""
        calls = [self._commit_call(transition) for transition in batch]
        answers = await self._server.run_each(COMMIT, calls) if calls else []
        return [self._became(one, answer) for one, answer in zip(batch, answers, strict=True)]

    def _became(self, transition: Transition, answer: Any) -> Committed:
        if is_of_what_is_stored(answer):
            log.error("choros.store.refused", saga_id=transition.record.saga_id, error=type(answer).__name__)
            return Committed.REFUSED
        return Committed.OK if self._server.checked(answer) else Committed.CONFLICT

    def _commit_call(self, transition: Transition) -> RedisCommand:
        record, sent, outbox = transition.record, transition.sent, transition.outbox
        history = transition.history
        return COMMIT.call(
            [self._saga(record.saga_id)],
            self._prefix,
            record.saga_id,
            record.version - 1,
            transition.previous,
            record.version,
            record.transition,
            _head(record),
            record.state,
            _named(record.kind),
            f"{record.saga}/{record.status}",
            repr(record.started_at),
            "" if record.wake_at is None else repr(record.wake_at),
            f"{record.version} {record.updated_at!r} {history}" if history else "",
            repr(record.updated_at),
            len(sent),
            2 * len(transition.entries),
            *sent,
            *(part for entry in transition.entries.items() for part in entry),
            *(part for one in outbox for part in (one.channel, one.id, one.envelope)),
        )

    async def mark_sent(self, sent: Sequence[tuple[str, str]]) -> None:
        """Take messages out of their outboxes."""
        by_saga: dict[str, list[str]] = {}
        for saga_id, message_id in sent:
            by_saga.setdefault(saga_id, []).append(message_id)
        calls = [MARK_SENT.call([self._saga(saga_id)], self._prefix, saga_id, *ids) for saga_id, ids in by_saga.items()]
        if calls:
            await self._server.run(MARK_SENT, calls)

    async def unsent(self, channel: Channel, before: float, limit: int) -> Sequence[Unsent]:
        """What is unsent on this channel, oldest first."""
        until = f"({before * 1_000_000:.0f}"
        key = f"{self._prefix}unsent:{channel}"
        members = await self._server.ask("ZRANGEBYSCORE", key, "-inf", until, "LIMIT", 0, limit)
        pairs = [member.split("\0", 1) for member in members]
        asked: list[RedisCommand] = [("HGET", f"{self._prefix}outbox:{saga_id}", one) for saga_id, one in pairs]
        envelopes = await self._all(asked)
        gone = [f"{pairs[i][0]}\0{pairs[i][1]}" for i, envelope in enumerate(envelopes) if envelope is None]
        if gone:  # sent in the meantime, or by an old process that looks elsewhere: those that stay fill every look
            await self._server.ask("ZREM", key, *gone)
        return [
            Unsent(message_id, channel, envelope, saga_id)
            for (saga_id, message_id), envelope in zip(pairs, envelopes, strict=True)
            if envelope is not None
        ]

    async def due(
        self,
        now: float,
        known: KnownKinds,
        limit: int,
        *,
        claim_until: float | None = None,
        passing_over: Collection[str] = (),
    ) -> Sequence[str]:
        """Ids of records whose timer is due, most overdue first; on the way the server's time."""
        claim = "" if claim_until is None else repr(claim_until)
        asked_at = sources.now()
        (answer,) = await self._server.run(
            DUE, [DUE.call(self._due_keys(known), repr(now), limit, claim, *passing_over)]
        )
        self._clock.said(_seconds(answer), asked_at)
        found: Sequence[str] = answer[2]
        return found

    def _due_keys(self, known: KnownKinds) -> list[str]:
        return [f"{self._prefix}due:{_named(kind)}" for kind in handed_out(known)]

    async def put_off(self, timers: Sequence[PutOff]) -> None:
        calls = [
            PUT_OFF.call([self._saga(one.saga_id)], self._prefix, one.saga_id, repr(one.claimed), repr(one.until))
            for one in timers
        ]
        for answer in await self._server.run_each(PUT_OFF, calls) if calls else ():
            self._left_it(answer)

    async def next_due(self, known: KnownKinds) -> float | None:
        """When the next timer is due."""
        answers = await self._all([("ZRANGE", key, 0, 0, "WITHSCORES") for key in self._due_keys(known)])
        return min((score for answer in answers for _, score in answer), default=None)

    async def _all(self, commands: Sequence[RedisCommand]) -> list[Any]:
        answers = await self._server.talk(commands) if commands else []
        return [self._server.checked(answer) for answer in answers]

    async def find(self, *, saga: str = "", status: str = "", limit: int = 50, cursor: str = "") -> Page:
        groups = [
            f"started:{one_saga}/{one_status}"
            for one_saga, one_status in await self.counts()
            if saga in ("", one_saga) and status in ("", one_status)
        ]
        places = sorted(await self._started(groups, Position.parse(cursor), limit + 1), reverse=True)[: limit + 1]
        return page_of(await self._records([saga_id for _, saga_id in places]), limit)

    async def _records(self, saga_ids: Sequence[str]) -> list[Record]:
        """Those that are still there."""
        return [one.record for one in (await self.load(saga_ids)).values() if not one.record.gone]

    async def ended(self, since: float, *, limit: int = 50, cursor: str = "") -> Page:
        """Records that have ended, the oldest change first."""
        after = Position.after(since, cursor)
        key, moment = f"{self._prefix}ended", repr(after.at)
        same, later = await self._all(
            [
                ("ZRANGEBYSCORE", key, moment, moment, "WITHSCORES"),
                ("ZRANGEBYSCORE", key, f"({moment}", "+inf", "WITHSCORES", "LIMIT", 0, limit + 1),
            ]
        )
        found = ((score, saga_id) for saga_id, score in (*same, *later))
        places = [place for place in found if place > (after.at, after.saga_id)]
        records = await self._records([saga_id for _, saga_id in places[:limit]])
        return Page(sorted(records, key=end_of), Position(*places[limit - 1]).cursor if len(places) > limit else "")

    async def _started(self, groups: Sequence[str], after: Position, count: int) -> list[tuple[float, str]]:
        """Of each group those after this place; those started at the very same moment are told apart by id."""
        moment = repr(after.at)
        commands: list[RedisCommand] = []
        for name in groups:
            key = self._prefix + name
            commands.append(("ZRANGEBYSCORE", key, moment, moment, "WITHSCORES"))
            commands.append(("ZREVRANGEBYSCORE", key, f"({moment}", "-inf", "WITHSCORES", "LIMIT", 0, count))
        found = ((score, saga_id) for one in await self._all(commands) for saga_id, score in one)
        return [place for place in found if place < (after.at, after.saga_id)]

    async def labelled(self, label: str, *, limit: int = 50, after: str = "") -> Sequence[str]:
        """Ids of the records with this label."""
        first = f"({after}" if after else "-"
        found: Sequence[str] = await self._server.ask(
            "ZRANGEBYLEX", f"{self._prefix}{LABEL}{label}", first, "+", "LIMIT", 0, limit
        )
        return found

    async def counts(self) -> Mapping[tuple[str, str], int]:
        counts = await self._server.ask("HGETALL", f"{self._prefix}counts")
        split = ((group.rpartition("/"), int(count)) for group, count in counts.items())
        return {(saga, status): count for (saga, _, status), count in split if count > 0}

    async def live(self) -> Mapping[Kind, int]:
        """How many records that have not ended there are of each kind."""
        counts = await self._server.ask("HGETALL", f"{self._prefix}live")
        return {_kind(name): int(count) for name, count in counts.items() if int(count)}

    async def oldest(self) -> float | None:
        """When the first of the records began that have not ended."""
        groups = [f"{self._prefix}started:{saga}/{status}" for saga, status in await self.counts() if status in LIVE]
        firsts = await self._all([("ZRANGE", group, 0, 0, "WITHSCORES") for group in groups]) if groups else []
        return min((float(score) for first in firsts for _, score in first), default=None)

    async def history(self, saga_id: str) -> Sequence[HistoryRow]:
        rows = await self._server.ask("LRANGE", f"{self._prefix}history:{saga_id}", 0, -1)
        split = ([*row.split(" ", 2), "", ""] for row in rows)
        return [history_row_of(_number(version), _number(at), events) for version, at, events, *_ in split]

    async def forget(self, before: float, *, keys_before: float = 0.0, skip: int = 0, limit: int = 64) -> Forgotten:
        """Delete records that have ended before that moment, each in a script of its own. Start keys expire by
        themselves, as `keys_before` was when their record was deleted."""
        old = ("ZRANGEBYSCORE", f"{self._prefix}ended", "-inf", f"({before!r}", "LIMIT", skip, limit)
        looked = await self._server.ask(*old)
        calls = [
            FORGET.call([self._saga(one)], self._prefix, one, rerun_id_for(one), repr(before), repr(keys_before))
            for one in looked
        ]
        answers = [self._left_it(one) for one in await self._server.run_each(FORGET, calls)] if calls else []
        return Forgotten(len(looked), answers.count(1), answers.count(-1))

    def _left_it(self, answer: Any) -> Any:
        """What somebody has changed so that a script cannot work with it stays where it is."""
        return -1 if is_of_what_is_stored(answer) else self._server.checked(answer)

    async def forgotten(self) -> float:
        """The latest end of all records that were deleted."""
        return float(await self._server.ask("GET", f"{self._prefix}forgotten") or 0)

    async def room(self) -> Room | None:
        """The server's memory, where it has a limit and tells."""
        return await self._server.room()


def _left(saga_id: str, over: str) -> Loaded:
    digest, status, ended_at, saga = over.split(" ", 3)
    return Loaded(left_of(saga_id, saga, digest, status, float(ended_at)))


def _kind(name: str) -> Kind:
    """The kind of this name."""
    saga, version, *fingerprint = name.split(":")
    return Kind(saga, int(version), *fingerprint)


def _named(kind: Kind) -> str:
    """As the indexes have it."""
    return f"{kind.saga}:{kind.version}" + (f":{kind.fingerprint}" if kind.fingerprint else "")


def _head(record: Record) -> str:
    return to_json(_values(record)).decode()


_values = attrgetter(*_HEAD)


def _to_loaded(
    saga_id: str, version: str, transition: str, head: str, state: str,
    commands: Sequence[str], facts: Sequence[str], entries: Sequence[str],
) -> Loaded:  # fmt: skip
    record = to_record(saga_id, version, transition, head, state)
    return Loaded(
        record, frozenset(commands), frozenset(facts), entries=dict(zip(entries[::2], entries[1::2], strict=True))
    )


def to_record(saga_id: str, version: str, transition: str, head: str, state: str) -> Record:
    """The record that is stored as these."""
    found = listed(head)
    if not (isinstance(found, list) and 0 <= len(_HEAD) - len(found) <= len(_LATER) and version.isdecimal()):
        return unreadable(saga_id, ["head"])
    values = {**_LATER, **dict(zip(_HEAD, found, strict=False))}
    return record_of(saga_id, {**values, "version": int(version), "transition": transition, "state": state})


def _number(text: str) -> object:
    """The number that a text stands for; None where it is none."""
    found = listed(text)
    return found if type(found) in (int, float) else None


def _seconds(time: Sequence[str]) -> float:
    """What TIME says: seconds and microseconds."""
    return int(time[0]) + int(time[1]) / 1_000_000
