"""Commands and facts off the wire: what a service may act on; everything else is rejected, and parked."""

from dataclasses import dataclass, field
from typing import Any

from choros.app.handler import Handler
from choros.app.later import Later
from choros.app.service import Service
from choros.errors import MessageRejected, Refused
from choros.messages import Close, Command, Reply
from choros.runtime.host.off_the_wire import read_envelope
from choros.runtime.host.outbox_rows import Departure
from choros.store.barrier import Row
from choros.transport.port import Delivery
from choros.transport.topology import Names
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope, Wire


class NoHandler(MessageRejected):
    """A command of a type that this replica of its service does not handle; another one may."""

    def __init__(self, service: str, kind: str) -> None:
        super().__init__(f"The service {service} has no handler for this type of command.")
        self.kind = kind
        """The type, as it was sent: not for the reason of a parking."""


@dataclass(slots=True, eq=False)
class Received:
    """A command that was understood."""

    envelope: Envelope
    key: CommandKey
    message: Command[Any]
    handler: Handler | None
    """Who carries it out; None for a `close`, which choros itself answers."""
    delivery: Delivery | None = None
    """What is settled once it is answered; None where it was read from the row of an intent."""
    outcome: Reply | Refused | Later | None = None
    """What a handler without a transaction came to, before it is written down."""
    withdrawn: Row | None = None
    """Of an undo: the row of what it undoes where that is not finished, as it was when the handler was called."""
    asked: bool = False
    """Whether nobody is left to be asked what has become of the `do`, which was taken and is not finished."""
    token: str = ""
    """The token under which the `do` that it undoes was taken, where that is not finished."""
    written: list[Departure] = field(default_factory=list)
    """What its handler has let leave, in the transaction that was last run."""
    begun: float | None = None
    """When it was found to be in time, by our clock: what takes long is not late."""

    @property
    def provided(self) -> bool:
        """Whether its effect lies outside the service's database."""
        return self.handler is not None and self.handler.provider


def read_command(message: Delivery | Wire, service: Service, names: Names) -> Received:
    """Read and check a command; raises MessageRejected, which never repeats what the message said."""
    envelope = read_envelope(message)
    if envelope.kind != "command":
        raise MessageRejected(f"A {envelope.kind} came to a service queue.")
    received = understood(envelope, service)
    check_command(received, names)
    return received


def check_command(received: Received, names: Names) -> None:
    """Raises MessageRejected where its parts do not go together."""
    envelope, key = received.envelope, received.key
    if key.operation not in ("do", "undo", "close"):
        raise MessageRejected("The operation of the idempotency key is none of a service's.")
    # A saga that was run again undoes what it has taken over under the keys of the one before.
    if key.saga_id != envelope.correlation_id and key.operation == "do":
        raise MessageRejected("The correlation id is not the one of the idempotency key.")
    if envelope.step not in (key.path, key.step):
        raise MessageRejected("The step is not the one of the idempotency key.")
    if (key.operation == "close") is not isinstance(received.message, Close):
        raise MessageRejected("The type of the command does not fit the operation of its idempotency key.")
    if not envelope.reply_to:
        raise MessageRejected("The message lacks reply_to.")
    if not envelope.reply_to.startswith(f"{names.replies}."):
        raise MessageRejected("The reply_to is no reply queue of this namespace.")


def understood(envelope: Envelope, service: Service) -> Received:
    """The command in an envelope of a known type; raises MessageRejected."""
    handler = service.handlers.get(envelope.type)
    if handler is None and envelope.type != Close.type_name:
        raise NoHandler(service.name, envelope.type)
    key = CommandKey.parse(envelope.key)
    wanted: Any = handler.message if handler else Close
    return Received(envelope, key, wanted.from_json(envelope.data), handler)
