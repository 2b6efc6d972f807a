"""A fact of a program in the caller's own transaction: it leaves with the caller's rows, or never."""

from __future__ import annotations

from typing import Any

from choros.app.app import App
from choros.errors import FactConflict
from choros.messages import Fact
from choros.roles.in_transaction import blocking_told_in, talk_of, told_in
from choros.runtime.client.program_outbox import fact_place, fact_row, same_fact
from choros.store.barrier import Row
from choros.wire.own_headers import NO_HEADERS, Headers


async def publish_in(
    session: Any, app: App, program: str, fact: Fact, *, key: str, seq: int = 1, correlation_id: str = "",
    headers: Headers = NO_HEADERS,
) -> None:  # fmt: skip
    """Publish a fact as this program in the transaction that is open: it leaves once that is committed, and never
    otherwise. `choros run APP --role program:NAME --database URL` sends it from there, within a second or two.

    `session` as of `start_in`; `key`, `seq` and `correlation_id` as of `publisher.publish`, and so the same call again
    is the same fact. Raises FactConflict for another fact under the same key and number, as far as this database
    knows it; UsageError for a fact that begins a flow, and where no transaction is open; WrongFact."""
    row = fact_row(app, program, fact, key, seq, correlation_id, headers)
    _check_same(row, await told_in(session, talk_of(fact_place(app, program), row)), key, seq)


def blocking_publish_in(
    session: Any, app: App, program: str, fact: Fact, *, key: str, seq: int = 1, correlation_id: str = "",
    headers: Headers = NO_HEADERS,
) -> None:  # fmt: skip
    """The same for programs that block: `session` as of `blocking_start_in`."""
    row = fact_row(app, program, fact, key, seq, correlation_id, headers)
    _check_same(row, blocking_told_in(session, talk_of(fact_place(app, program), row)), key, seq)


def _check_same(row: Row, there: str, key: str, seq: int) -> None:
    if not same_fact(there, row.content):
        sentence = f"Another fact was published under the key {key!r} and the number {seq}."
        raise FactConflict(sentence, "seq= counts them.")
