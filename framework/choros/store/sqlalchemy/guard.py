"""What a handler may not do with its session or connection, and what becomes of its transaction when it fails.

SQLAlchemy tells of it by events. They are heard on the whole engine, and mean something only on a connection that
carries a job's transaction among its execution options.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.orm import Session, SessionTransaction

from choros.errors import UsageError
from choros.store.sql.script import ends_transaction
from choros.store.sql.transaction import SqlTransaction

OPTION = "choros_transaction"
HINT = "return, or raise Refused: choros commits with the command, or rolls back. For a part: session.begin_nested()."


def watch(engine: Engine) -> None:
    """Hear what happens on the connections of this engine; said again it changes nothing."""
    for name, listener in (
        ("commit", _commits), ("rollback", _rolls_back), ("before_cursor_execute", _executes), ("handle_error", _fails),
    ):  # fmt: skip
        if not event.contains(engine, name, listener):
            event.listen(engine, name, listener)


def _of(connection: Connection | None) -> SqlTransaction | None:
    found = None if connection is None else connection.get_execution_options().get(OPTION)
    return found if isinstance(found, SqlTransaction) else None


def _commits(connection: Connection) -> None:
    transaction = _of(connection)
    if transaction is not None and not transaction.ending:
        transaction.standing.spoil("committed its whole transaction")
        raise UsageError("A handler cannot commit its transaction.", HINT)


def _rolls_back(connection: Connection) -> None:
    transaction = _of(connection)
    if transaction is not None and not transaction.ending:
        transaction.standing.spoil("rolled its whole transaction back, or closed its connection")


def _executes(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
    transaction = _of(connection)
    if transaction is None:
        return
    transaction.standing.check()
    if ends_transaction(statement):
        raise UsageError("A handler cannot begin or end transactions.", HINT)


def _fails(context: ExceptionContext) -> None:
    transaction = _of(context.connection)
    if transaction is not None:
        transaction.note(context.original_exception, gone=context.is_disconnect)


class SessionWatch:
    """Whether a session was closed with work in it: that would be lost, and the command answered as if it were done.

    What is committed stays, in the transaction of the command; what is rolled back is gone, as its handler wished."""

    def __init__(self, session: Session, transaction: SqlTransaction) -> None:
        self._transaction, self._ended = transaction, False
        event.listen(session, "after_commit", self._has_ended)
        event.listen(session, "after_rollback", self._has_ended)
        event.listen(session, "after_transaction_end", self._ends)

    def _has_ended(self, session: Session) -> None:
        self._ended = True

    def _ends(self, session: Session, ended: SessionTransaction) -> None:
        if ended.parent is not None:
            return
        if not self._ended and not self._transaction.ending:
            self._transaction.standing.spoil("closed its session with work in it")
        self._ended = False
