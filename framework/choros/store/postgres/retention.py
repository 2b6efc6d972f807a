"""Deleting what has ended. Of each record a small row stays, which answers for its start key."""

from __future__ import annotations

from choros.sources import rerun_id_for
from choros.store.postgres.server import PostgresServer
from choros.store.postgres.tables import HAS_ENDED, OURS
from choros.store.sagas import Forgotten

OLD = f"""SELECT saga_id FROM @record WHERE scope = $1 AND {HAS_ENDED} AND updated_at < $2
    ORDER BY updated_at, saga_id OFFSET $3 LIMIT $4"""
FORGET = f"""
WITH looked AS MATERIALIZED (
    SELECT l.saga_id,
        EXISTS (SELECT 1 FROM @outbox AS o WHERE o.saga_id = l.saga_id AND {OURS.format("o")})
            OR EXISTS (SELECT 1 FROM @record AS a
                WHERE a.saga_id = l.again AND {OURS.format("a")} AND a.version > 0) AS stays
    FROM unnest($2::text[], $3::text[]) AS l (saga_id, again)
), free AS MATERIALIZED (
    SELECT r.saga_id, r.saga, r.status, r.saga_version, r.fingerprint, r.updated_at FROM @record AS r
    WHERE r.saga_id = ANY (ARRAY (SELECT saga_id FROM looked WHERE NOT stays)) AND {OURS.format("r")}
        AND r.version > 0 AND r.updated_at < $4
    ORDER BY r.saga_id FOR UPDATE
), gone AS (
    UPDATE @record AS r SET gone = true, version = 0, transition_id = '', state = '', start_key = '', received = '[]',
        undecided = '[]', wakes_at = NULL, due_at = NULL
    FROM free WHERE r.saga_id = free.saga_id AND {OURS.format("r")}
), histories AS (
    DELETE FROM @history AS h USING free WHERE h.saga_id = free.saga_id AND {OURS.format("h")}
), entries AS (
    DELETE FROM @entry AS e USING free WHERE e.saga_id = free.saga_id AND {OURS.format("e")}
), counted AS (
    INSERT INTO @tally (scope, saga, status, saga_version, fingerprint, count)
    SELECT $1, saga, status, saga_version, fingerprint, -count(*) FROM free
    GROUP BY saga, status, saga_version, fingerprint
), noted AS (
    INSERT INTO @scope AS s (name, forgotten) SELECT $1, max(updated_at) FROM free HAVING count(*) > 0
    ON CONFLICT (name) DO UPDATE SET forgotten = greatest(s.forgotten, excluded.forgotten)
)
SELECT (SELECT count(*) FROM free), (SELECT count(*) FROM looked WHERE stays)"""
EXPIRED = f"""WITH deleted AS (
        DELETE FROM @record AS r WHERE r.saga_id = ANY (ARRAY (
            SELECT saga_id FROM @record WHERE scope = $1 AND gone AND updated_at < $2 LIMIT $3))
            AND {OURS.format("r")} AND r.version = 0
        RETURNING 1)
    SELECT count(*) FROM deleted"""
FORGOTTEN = "SELECT forgotten FROM @scope WHERE name = $1"


async def forget(
    server: PostgresServer, scope: str, before: float, keys_before: float, skip: int, limit: int
) -> Forgotten:
    """One small part of it; keys beyond theirs go as well."""
    looked = [one for (one,) in await server.ask(OLD, scope, before, skip, limit)]
    deleted = left = 0
    if looked:
        again = [rerun_id_for(one) for one in looked]
        ((deleted, left),) = await server.ask(FORGET, scope, looked, again, before)
    ((keys,),) = await server.ask(EXPIRED, scope, keys_before, limit)
    return Forgotten(len(looked), deleted, left, keys)


async def forgotten(server: PostgresServer, scope: str) -> float:
    """The latest end of what was deleted."""
    rows = await server.ask(FORGOTTEN, scope)
    return float(rows[0][0]) if rows else 0.0
