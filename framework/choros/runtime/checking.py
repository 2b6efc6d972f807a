"""What is checked before a service runs: every declared message has a handler, and every handler its transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, get_type_hints

from choros.errors import DeclarationError
from choros.runtime.reactions import check_reactions
from choros.runtime.service import Handler, Service
from choros.store.barrier import Database, Transaction


def check(service: Service, handlers: Iterable[Handler], database: Database) -> None:
    """Raises DeclarationError where the service cannot run on this database."""
    missing = service.missing()
    if missing:
        raise DeclarationError(
            f"service {service.name!r} has no handler for {', '.join(missing)}.",
            "import the module that registers it.",
        )
    check_reactions(service)
    for handler in handlers:
        _check_transaction(service, handler.function, handler.transaction, database)


def check_preparations(service: Service, database: Database) -> None:
    """Raises DeclarationError where what the service prepares is written for another database."""
    for function in service.preparations:
        for hint in get_type_hints(function).values():
            if isinstance(hint, type) and issubclass(hint, Transaction):
                _check_transaction(service, function, hint, database)


def _check_transaction(
    service: Service, function: Callable[..., Any], wanted: type[Transaction] | None, database: Database
) -> None:
    given = database.transaction_type
    if wanted is not None and not issubclass(given, wanted):
        raise DeclarationError(
            f"service {service.name!r}: {function.__name__} takes a {wanted.__name__}, and its database gives"
            f" a {given.__name__}.",
            "give the service the database that it is written for: --database sqlite:///file or redis://...",
        )
