"""What must be there before the first message, such as tables: whether a function can prepare it."""

import inspect
from collections.abc import Callable
from typing import Any

from choros.app.sessions import blocks, is_session, taken_by
from choros.callables import annotations_of, check_async, check_called, is_async, name_of
from choros.errors import DeclarationError
from choros.saga.checks import shown
from choros.store.barrier import Transaction


def check_preparation(service: str, function: Callable[..., Any]) -> None:
    """It is called with a transaction and nothing else."""
    what = f"service {service!r}: {shown(function)}"
    check_called(what, function)
    if blocks(taken_by(function)):
        if is_async(function):
            raise DeclarationError(f"{what} is async and takes what would block the loop.", "write def.")
    else:
        check_async(what, function)
    where = f"service {service!r}: {name_of(function)}"
    try:
        given = inspect.signature(function).bind(None)
    except TypeError:
        given = None
    hints = annotations_of(function, where)
    wrong = [hint for hint in map(hints.get, given.arguments if given else ()) if not _may_be_transaction(hint)]
    if given is None or wrong:
        raise DeclarationError(
            f"{where} prepares the service, so it is called with a Transaction and nothing else.",
            f"write async def {name_of(function)}(db: SqliteTransaction) -> None, or another Transaction.",
        )


def _may_be_transaction(hint: object) -> bool:
    return not isinstance(hint, type) or issubclass(hint, Transaction) or is_session(hint) or hint is object
