"""What is checked before a service runs: every declared message has a handler, and every handler its transaction."""

from __future__ import annotations

from collections.abc import Iterable

from choros.errors import DeclarationError
from choros.runtime.service import Handler, Service
from choros.store.barrier import Database


def check(service: Service, handlers: Iterable[Handler], database: Database) -> None:
    """Raises DeclarationError where the service cannot run on this database."""
    missing = service.missing()
    if missing:
        raise DeclarationError(
            f"service {service.name!r} has no handler for {', '.join(missing)}.",
            "import the module that registers it.",
        )
    for handler in handlers:
        _check_transaction(service, handler, database)


def _check_transaction(service: Service, handler: Handler, database: Database) -> None:
    wanted, given = handler.transaction, database.transaction_type
    if wanted is not None and not issubclass(given, wanted):
        raise DeclarationError(
            f"service {service.name!r}: {handler.function.__name__} takes a {wanted.__name__}, and its database gives"
            f" a {given.__name__}.",
            "give the service the database that its handlers are written for.",
        )
