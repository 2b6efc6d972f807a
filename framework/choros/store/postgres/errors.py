"""What PostgreSQL says when it refuses, as errors of ours; never with what was sent, and never with a password."""

import asyncpg

from choros.errors import ChorosError, StoreMisconfigured, StoreUnreachable

Meaning = tuple[type[ChorosError], str, str]

READ_ONLY = "25006"
_DEADLOCK, _SERIALIZATION = "40P01", "40001"
_AWAY: Meaning = (StoreUnreachable, "does not answer", "start it, or check the address.")
_STARTING: Meaning = (StoreUnreachable, "is starting or stopping", "wait.")
_BAD_LOGIN: Meaning = (
    StoreMisconfigured,
    "does not accept this user and password",
    "check them in the address, and pg_hba.conf.",
)
_NO_TABLES: Meaning = (
    StoreMisconfigured,
    "has not the tables of choros as they shall be",
    "choros schema print postgresql --for store, and psql to apply it.",
)
_POOLER: Meaning = (
    StoreMisconfigured,
    "is behind a pooler that keeps no session",
    "?statement_cache_size=0 at the end of the address.",
)
_MEANINGS: dict[str, Meaning] = {
    "57P01": _STARTING,
    "57P02": _STARTING,
    "57P03": _STARTING,
    READ_ONLY: (StoreUnreachable, "is a standby and takes no writes", "the primary's address; after a failover, wait."),
    "28000": _BAD_LOGIN,
    "28P01": _BAD_LOGIN,
    "3D000": (StoreMisconfigured, "has no such database", "CREATE DATABASE, or another name in the address."),
    "3F000": (StoreMisconfigured, "has no such schema", "CREATE SCHEMA, or another ?schema= in the address."),
    "42501": (
        StoreMisconfigured,
        "does not allow this user what a store needs",
        "GRANT SELECT, INSERT, UPDATE, DELETE on the tables of choros, and USAGE on their schema and sequence.",
    ),
    "42P01": _NO_TABLES,
    "42703": _NO_TABLES,
    "26000": _POOLER,
    "42P05": _POOLER,
    "08P01": _POOLER,
    "53100": (StoreUnreachable, "cannot write: its disk is full", "free space; nothing was half written."),
    "53200": (StoreUnreachable, "is out of memory", "look into its log."),
    "53300": (StoreUnreachable, "has no connection left", "raise max_connections, or run fewer processes."),
    "57014": (StoreUnreachable, "gave up a statement (statement_timeout)", "a longer one for this user."),
    "55P03": (StoreUnreachable, "gave up waiting for a lock (lock_timeout)", "see in pg_locks who holds it."),
    "25P03": (StoreUnreachable, "ended a transaction that was idle", "a longer limit for this user."),
    "25P04": (StoreUnreachable, "ended a transaction for its length (transaction_timeout)", "a longer one."),
}


class Untaken(StoreMisconfigured):
    """One of the values is at fault, such as a text with a NUL in it, and neither the server nor the statement."""


def named(error: BaseException, server: str) -> ChorosError:
    """The error of ours that says what PostgreSQL means; never with what was sent."""
    state = state_of(error)
    if isinstance(error, (ValueError, OverflowError)) or state[:2] in ("22", "23", "54"):
        return Untaken(f"PostgreSQL at {server} cannot take a value ({state or type(error).__name__}).")
    kind, what, hint = _MEANINGS.get(state) or _by_class(state)
    return kind(f"PostgreSQL at {server} {what}.", hint)


def _by_class(state: str) -> Meaning:
    if not state or state.startswith("08"):
        return _AWAY
    if state.startswith("28"):
        return _BAD_LOGIN
    return StoreUnreachable, f"does not do its work ({state})", "look into its log; its manual lists the codes."


def state_of(error: BaseException | None) -> str:
    """The SQLSTATE, where the server has said one; what the driver itself finds has none that counts."""
    return str(error.sqlstate or "") if isinstance(error, asyncpg.PostgresError) else ""


def leads_elsewhere(error: BaseException) -> bool:
    """Whether a new connection may do better than those that were made before."""
    state = state_of(error)
    if not state:
        return not isinstance(error, (ValueError, OverflowError))
    return state == READ_ONLY or state.startswith(("57P", "08"))


def is_undone(error: BaseException) -> bool:
    """Whether all of the transaction was taken back, to be tried again: it met others."""
    return state_of(error) in (_DEADLOCK, _SERIALIZATION)
