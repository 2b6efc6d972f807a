"""What may be registered with a service: messages of one kind, each with a name of its own."""

from collections.abc import Sequence
from typing import Any

from choros.app.joining import AllOf, AnyJoin, Undone
from choros.errors import DeclarationError
from choros.messages import Fact, Message
from choros.saga.checks import is_a, listed, shown


def declared(service: str, what: str, messages: object, wanted: type[Message]) -> tuple[Any, ...]:
    """The messages of this kind that are named; raises DeclarationError for anything else."""
    members = listed(f"service {service!r}: {what}", messages)
    for member in members:
        if not is_a(member, wanted):
            raise DeclarationError(
                f"service {service!r}: {what} holds {shown(member)}, which is no {wanted.__name__}.",
                f"name classes that are derived from choros.{wanted.__name__}.",
            )
    return members


def published(where: str, publishes: object) -> tuple[type[Fact], ...]:
    """The facts that a service or handler is declared to publish; raises DeclarationError."""
    kinds = (publishes,) if isinstance(publishes, type) else listed(f"{where}: publishes", publishes)
    for kind in kinds:
        if not is_a(kind, Fact):
            raise DeclarationError(
                f"{where} publishes {shown(kind)}, which is no Fact.",
                "name classes that are derived from choros.Fact.",
            )
    return tuple(kinds)


def check_message(service: str, decorator: str, message: object, wanted: type[Message]) -> None:
    """A decorator without parentheses is given its function in the place of a message type."""
    if not is_a(message, wanted):
        given = "nothing" if message is None else shown(message)
        raise DeclarationError(
            f"service {service!r}: {decorator} is given {given}, which is no {wanted.__name__}.",
            f"write @{service}.{decorator}(Some{wanted.__name__}) above an async def, with a class of your own.",
        )


def heard_in(
    service: str, heard: Sequence[type[Fact] | AnyJoin], undoes: Undone | None
) -> tuple[AnyJoin | None, Sequence[type[Fact]]]:
    """What a reaction waits for, if it does, and the facts that it hears; raises DeclarationError."""
    joins = [one for one in heard if isinstance(one, AllOf)]
    if joins and (len(heard) > 1 or undoes is not None):
        more = "other facts" if len(heard) > 1 else "undoes="
        raise DeclarationError(
            f"service {service!r}: on({joins[0]}) has {more} beside it.", "on(all_of(...)) alone: one reaction each."
        )
    facts: Sequence[Any] = joins[0].facts if joins else heard or (None,)
    for fact in (*facts, *([] if undoes is None or isinstance(undoes, AllOf | str) else [undoes])):
        check_message(service, "on", fact, Fact)
    return joins[0] if joins else None, facts
