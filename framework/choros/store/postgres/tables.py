"""The tables of the saga store in PostgreSQL, as text, for whoever may not create any too.

Names of tables are written `@record` in statements, for `choros_record` in whichever schema of the database they lie.
"""

from __future__ import annotations

import re

from choros.store.sagas import ENDED, LABEL
from choros.store.schema import SCHEMA_VERSION

HAS_ENDED = f"status IN ({', '.join(map(repr, ENDED))}) AND NOT gone"
IS_LABEL = f"left(name, {len(LABEL)}) = '{LABEL}'"
"""Both word for word as the indexes have them, for who looks by these."""
OURS = "({}.scope = $1) IS TRUE"
"""Of this application, where rows are found by the saga's id. To a planner an index that begins with the scope looks
just as good as long as there is no record yet; it does not see this one as a way to look by. For the same reason none
of what a partial index is made of is said beside it: what is gone has version 0."""
_TEXT = 'text COLLATE "C" NOT NULL'
TABLES = (
    # Which layout this is, and what tells this store from every other one.
    """CREATE TABLE IF NOT EXISTS @store (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    version integer NOT NULL,
    identity text NOT NULL
)""",
    # Scope: namespace and name of the application. What is left of a saga that was deleted is a record that is gone.
    f"""CREATE TABLE IF NOT EXISTS @record (
    scope {_TEXT}, saga_id {_TEXT}, saga {_TEXT}, saga_version integer NOT NULL, start_key {_TEXT},
    digest {_TEXT}, application {_TEXT}, version integer NOT NULL, transition_id {_TEXT}, status {_TEXT},
    state {_TEXT}, started_at float8 NOT NULL, updated_at float8 NOT NULL, wakes_at float8, received {_TEXT},
    undecided {_TEXT}, fingerprint {_TEXT}, late integer NOT NULL, due_at float8, gone boolean NOT NULL DEFAULT false,
    PRIMARY KEY (saga_id, scope)
)""",
    "CREATE INDEX IF NOT EXISTS choros_record_by_start ON @record (scope, started_at, saga_id) WHERE NOT gone",
    """CREATE INDEX IF NOT EXISTS choros_record_by_group ON @record (scope, saga, status, started_at, saga_id)
    WHERE NOT gone""",
    f"CREATE INDEX IF NOT EXISTS choros_record_by_end ON @record (scope, updated_at, saga_id) WHERE {HAS_ENDED}",
    "CREATE INDEX IF NOT EXISTS choros_record_gone ON @record (scope, updated_at) WHERE gone",
    # A timer is due when it wakes its saga; one that is claimed or was put off, later.
    """CREATE INDEX IF NOT EXISTS choros_record_due ON @record (scope, saga, saga_version, fingerprint, due_at, saga_id)
    WHERE due_at IS NOT NULL""",
    # The number keeps the order of commits, whatever the clock does.
    f"""CREATE TABLE IF NOT EXISTS @outbox (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope {_TEXT}, saga_id {_TEXT}, id {_TEXT}, channel {_TEXT}, at float8 NOT NULL, envelope {_TEXT},
    UNIQUE (saga_id, id, scope)
)""",
    "CREATE INDEX IF NOT EXISTS choros_outbox_by_channel ON @outbox (scope, channel, number)",
    f"""CREATE TABLE IF NOT EXISTS @history (
    scope {_TEXT}, saga_id {_TEXT}, version integer NOT NULL, at float8 NOT NULL, events {_TEXT},
    PRIMARY KEY (saga_id, version, scope)
)""",
    f"""CREATE TABLE IF NOT EXISTS @entry (
    scope {_TEXT}, saga_id {_TEXT}, name {_TEXT}, text {_TEXT},
    PRIMARY KEY (saga_id, name, scope)
)""",
    f"CREATE INDEX IF NOT EXISTS choros_entry_by_label ON @entry (scope, name, saga_id) WHERE {IS_LABEL}",
    # How many records there are of each kind and status: the sum of these, since rows of a single counter would keep
    # every commit waiting for the one before. Whoever counts puts them together.
    f"""CREATE TABLE IF NOT EXISTS @tally (
    scope {_TEXT}, saga {_TEXT}, status {_TEXT}, saga_version integer NOT NULL, fingerprint {_TEXT},
    count bigint NOT NULL
)""",
    "CREATE INDEX IF NOT EXISTS choros_tally_by_scope ON @tally (scope)",
    # How far retention has come: the latest end of what was deleted.
    f"CREATE TABLE IF NOT EXISTS @scope (name {_TEXT} PRIMARY KEY, forgotten float8 NOT NULL)",
    f"""INSERT INTO @store (version, identity)
    VALUES ({SCHEMA_VERSION}, right(replace(gen_random_uuid()::text, '-', ''), 12)) ON CONFLICT DO NOTHING""",
)


def named_in(statement: str, schema: str) -> str:
    """The statement with the names of its tables, in this schema of the database; in the first of the login's
    `search_path` where it is empty."""
    return re.sub(r"@(\w+)", rf"{schema}.choros_\1" if schema else r"choros_\1", statement)


def ddl(schema: str = "") -> str:
    """All of it as one text for `psql`."""
    return ";\n\n".join(["BEGIN", *(named_in(one, schema) for one in TABLES), "COMMIT"]) + ";\n"
