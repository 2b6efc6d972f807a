"""What may be registered with a service: messages of one kind, each with a name of its own."""

from typing import Any

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
