"""The tables of the barrier, as a database that speaks SQL is given them."""

from choros.store.barrier import LISTED

TABLES: tuple[str, ...] = (
    # `unsent` says when a reply was written that no broker has confirmed.
    """CREATE TABLE IF NOT EXISTS choros_barrier (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL,
    reply TEXT NOT NULL,
    prune_at DOUBLE PRECISION,
    unsent BIGINT,
    began DOUBLE PRECISION,
    since DOUBLE PRECISION,
    memory TEXT,
    PRIMARY KEY (namespace, key)
)""",
    """CREATE INDEX IF NOT EXISTS choros_barrier_unsent ON choros_barrier (namespace, unsent)
    WHERE unsent IS NOT NULL""",
    """CREATE INDEX IF NOT EXISTS choros_barrier_forget_at ON choros_barrier (namespace, prune_at)
    WHERE prune_at IS NOT NULL""",
    """CREATE INDEX IF NOT EXISTS choros_barrier_aging ON choros_barrier (namespace, memory, since)
    WHERE memory IS NOT NULL""",
    *(
        f"""CREATE INDEX IF NOT EXISTS choros_barrier_{state} ON choros_barrier (namespace, since)
    WHERE state = '{state}'"""
        for state in LISTED
    ),
    """CREATE TABLE IF NOT EXISTS choros_horizon (
    namespace TEXT NOT NULL,
    memory TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (namespace, memory)
)""",
    """CREATE TABLE IF NOT EXISTS choros_schema (
    namespace TEXT PRIMARY KEY,
    version INTEGER NOT NULL
)""",
)


def barrier_tables() -> tuple[str, ...]:
    """The statements that make the barrier's tables where they are not there yet: for a migration of your own."""
    return TABLES


def ddl(schema: str = "") -> str:
    """All of it as one text for `psql`, in this schema of the database, or the first of the login's `search_path`."""
    place = [f"SET LOCAL search_path = {schema}"] if schema else []
    return ";\n\n".join(["BEGIN", *place, *TABLES, "COMMIT"]) + ";\n"
