"""Looking for records: each look reads what it hands out and little more, however many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from choros.store.paging import Position, page_of, page_of_ended
from choros.store.postgres.rows import COLUMNS, to_record
from choros.store.postgres.server import PostgresServer
from choros.store.postgres.tables import HAS_ENDED, IS_LABEL
from choros.store.sagas import LABEL, LIVE, Kind, Page

_BEFORE = "NOT gone AND (started_at, saga_id) < ($2, $3) ORDER BY started_at DESC, saga_id DESC LIMIT $4"
ALL = f"SELECT {COLUMNS} FROM @record WHERE scope = $1 AND {_BEFORE}"
OF_GROUPS = f"""SELECT found.* FROM unnest($5::text[], $6::text[]) AS g (of_saga, in_status) CROSS JOIN LATERAL (
    SELECT {COLUMNS} FROM @record WHERE scope = $1 AND saga = g.of_saga AND status = g.in_status
        AND {_BEFORE}) AS found"""
ENDED = f"""SELECT {COLUMNS} FROM @record WHERE scope = $1 AND {HAS_ENDED} AND (updated_at, saga_id) > ($2, $3)
    ORDER BY updated_at, saga_id LIMIT $4"""
LABELLED = f"""SELECT saga_id FROM @entry WHERE scope = $1 AND {IS_LABEL} AND name = $2 AND saga_id > $3
    ORDER BY saga_id LIMIT $4"""
OLDEST = """SELECT min(first.started_at) FROM unnest($2::text[], $3::text[]) AS g (saga, status) CROSS JOIN LATERAL (
    SELECT r.started_at FROM @record AS r WHERE r.scope = $1 AND r.saga = g.saga AND r.status = g.status AND NOT r.gone
    ORDER BY r.started_at LIMIT 1) AS first"""
TALLY = """SELECT saga, status, saga_version, fingerprint, sum(count)::bigint, count(*) FROM @tally WHERE scope = $1
    GROUP BY saga, status, saga_version, fingerprint"""
PUT_TOGETHER = """WITH taken AS (
        DELETE FROM @tally WHERE ctid = ANY (ARRAY (
            SELECT ctid FROM @tally WHERE scope = $1 LIMIT 10000 FOR UPDATE SKIP LOCKED))
        RETURNING saga, status, saga_version, fingerprint, count)
    INSERT INTO @tally (scope, saga, status, saga_version, fingerprint, count)
    SELECT $1, saga, status, saga_version, fingerprint, sum(count) FROM taken
    GROUP BY saga, status, saga_version, fingerprint HAVING sum(count) <> 0"""
_MANY = 1000
"""So many changes of counts, and they are put together."""


class Looks:
    """Questions about the records of one application."""

    def __init__(self, server: PostgresServer, scope: str) -> None:
        self._server, self._scope = server, scope

    async def find(self, saga: str, status: str, limit: int, after: Position) -> Page:
        """A page, and one record more to know whether another page follows."""
        before = (self._scope, after.at, after.saga_id, limit + 1)
        if not saga and not status:
            return page_of(map(to_record, await self._server.ask(ALL, *before)), limit)
        groups = [group for group in await self.counts() if saga in ("", group[0]) and status in ("", group[1])]
        found = await self._server.ask(OF_GROUPS, *before, [one for one, _ in groups], [one for _, one in groups])
        return page_of(map(to_record, found), limit)

    async def ended(self, limit: int, after: Position) -> Page:
        """A page of those that have ended, the oldest change first."""
        found = await self._server.ask(ENDED, self._scope, after.at, after.saga_id, limit + 1)
        return page_of_ended(map(to_record, found), limit)

    async def labelled(self, label: str, limit: int, after: str) -> list[str]:
        """Ids of the records with this label."""
        return [one for (one,) in await self._server.ask(LABELLED, self._scope, LABEL + label, after, limit)]

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """Records by saga and status."""
        found: Counter[tuple[str, str]] = Counter()
        for (kind, status), count in (await self._tally()).items():
            found[kind.saga, status] += count
        return {group: count for group, count in found.items() if count > 0}

    async def live(self) -> Mapping[Kind, int]:
        """Records that have not ended, by kind."""
        found: Counter[Kind] = Counter()
        for (kind, status), count in (await self._tally()).items():
            found[kind] += count if status in LIVE else 0
        return {kind: count for kind, count in found.items() if count > 0}

    async def oldest(self) -> float | None:
        """When the first of the records began that have not ended."""
        groups = [group for group in await self.counts() if group[1] in LIVE]
        given = self._scope, [saga for saga, _ in groups], [status for _, status in groups]
        ((first,),) = await self._server.ask(OLDEST, *given)
        return None if first is None else float(first)

    async def _tally(self) -> Mapping[tuple[Kind, str], int]:
        rows = await self._server.ask(TALLY, self._scope)
        if sum(row[5] for row in rows) > _MANY + len(rows):
            await self._server.ask(PUT_TOGETHER, self._scope)
        return {(Kind(saga, version, its), status): count for saga, status, version, its, count, _ in rows}
