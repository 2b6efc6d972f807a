"""What is checked before a service runs: every declared message has a handler, and every handler its transaction."""

from collections.abc import Callable
from typing import Any

from choros.app.joining import AllOf, undone_by
from choros.app.service import Service
from choros.app.sessions import is_session
from choros.callables import annotations_of, name_of
from choros.errors import DeclarationError
from choros.messages import Fact
from choros.store.barrier import Database, Transaction


def check(service: Service, database: Database) -> None:
    """Raises DeclarationError where the service, or what it prepares, cannot run on this database."""
    missing = service.missing()
    if missing:
        raise DeclarationError(
            f"service {service.name!r} has no handler for {', '.join(missing)}.", "import the module that registers it."
        )
    check_reactions(service)
    service.check_resources()
    for handler in (*service.handlers.values(), *service.reactions.values()):
        _check_transaction(service, handler.function, handler.transaction, database)
        _check_session(service, handler.function, handler.session, database)
    for function in service.preparations:
        for hint in annotations_of(function, f"service {service.name!r}: {name_of(function)}").values():
            if isinstance(hint, type) and issubclass(hint, Transaction):
                _check_transaction(service, function, hint, database)
            elif is_session(hint):
                _check_session(service, function, hint, database)


def _check_transaction(
    service: Service, function: Callable[..., Any], wanted: type[Transaction] | None, database: Database
) -> None:
    given = database.transaction_type
    if wanted is not None and not issubclass(given, wanted):
        raise DeclarationError(
            f"service {service.name!r}: {name_of(function)} takes a {wanted.__name__}, and its database gives"
            f" a {given.__name__}.",
            "give the service the database that it is written for: --database sqlite:///file or redis://...",
        )


def _check_session(service: Service, function: Callable[..., Any], wanted: type | None, database: Database) -> None:
    given = database.transaction_type
    if wanted is not None and not any(issubclass(wanted, one) for one in given.sessions):
        raise DeclarationError(
            f"service {service.name!r}: {function.__name__} takes {wanted.__name__}, which its database does not give:"
            f" that gives {given.__name__}.",
            "--database postgresql+asyncpg://... (SQLAlchemy) or postgresql://... (asyncpg), as it is written for.",
        )


def check_reactions(service: Service) -> None:
    """Raises DeclarationError where a reaction is undone that the service does not have, or not in its database."""
    seen: dict[str, str] = {}
    for undo in service.reactions.values():
        if undo.undoes is None:
            continue
        done, undone = undone_by(undo, service.reactions), _named(undo.undoes)
        if done is None:
            raise DeclarationError(
                f"service {service.name!r}: {undo.name} undoes what was done about {undone}, which nothing handles.",
                f"register a handler with @{service.name}.on({undone}).",
            )
        other = seen.setdefault(done.does, undo.message.__name__)
        if other != undo.message.__name__ and not done.effect:
            raise DeclarationError(
                f"service {service.name!r}: what was done about {undone} is undone twice, about"
                f" {other} and {undo.message.__name__}.",
                f"keep one, where the same flow or saga says both. Or name what is done, on({undone}, effect='it'), and"
                f" have one function undo it: on({other}, {undo.message.__name__}, undoes='it').",
            )
        for handler in (done, undo):
            if handler.transaction is None:
                raise DeclarationError(
                    f"service {service.name!r}: {handler.name} takes no Transaction, so nothing can hold"
                    f" {undone} and its undo apart.",
                    "write its effect through the service's own transaction.",
                )


def _named(undone: type[Fact] | tuple[type[Fact], ...] | str) -> str:
    match undone:
        case str():
            return repr(undone)
        case tuple():
            return str(AllOf(undone))
    return undone.__name__
