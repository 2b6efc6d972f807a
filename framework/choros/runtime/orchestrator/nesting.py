"""What sagas and those nested in them say to each other: off the wire, and back onto it.

A nested saga's commands come to the reply queue of the store that both are on, by the way of their own application, and
its answers go the same way. Who is meant, the key and the body say: nobody needs the declaration of the other one."""

from choros.errors import MessageRejected
from choros.messages import NestedCommand
from choros.names import ORCHESTRATOR
from choros.saga.machine.inputs import NestedReply, OrderReceived
from choros.saga.machine.instance import Order
from choros.sources import fresh_id, nested_id_for
from choros.transport.topology import Names
from choros.values import replace
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope


class ForAnother(MessageRejected):
    """A nested saga is to begin that this process does not know; another one may."""


PASSED_ON = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds until each return of a start that this process cannot begin, for another one; after that it is parked, and
asked for again by whoever sent it."""


def speaker(names: Names, application: str) -> str:
    """Who says what sagas and those nested in them say, as the source of the envelope."""
    return f"/{names.namespace}/{application}/{ORCHESTRATOR}"


def read_order(envelope: Envelope, exchange: str, names: Names, application: str) -> tuple[str, NestedCommand]:
    """The id of the nested saga, and what it is told; raises MessageRejected for what its own application cannot have
    said."""
    if envelope.source != speaker(names, application) or exchange != names.sagas_of(application):
        raise MessageRejected("A command came to a reply queue, and not by the way of the application's own sagas.")
    if envelope.type != NestedCommand.type_name:
        raise MessageRejected("A command came to a reply queue that is for no nested saga.")
    if not envelope.reply_to.startswith(f"{names.replies}."):
        raise MessageRejected("The reply_to is no reply queue of this namespace.")
    key, said = CommandKey.parse(envelope.key), NestedCommand.from_json(envelope.data)
    if key.saga_id != envelope.correlation_id and key.operation == "do":
        raise MessageRejected("The correlation id is not the one of the idempotency key.")
    if envelope.step not in (key.path, key.step):
        raise MessageRejected("The step is not the one of the idempotency key.")
    if bool(said.start) is not (key.operation == "do"):
        raise MessageRejected("What is commanded does not fit the operation of its idempotency key.")
    return nested_id_for(names.namespace, application, said.saga, key.effect), said


def order_of(envelope: Envelope) -> OrderReceived:
    """The input that a command stands for which `read_order` has read; raises MessageRejected."""
    said, key = NestedCommand.from_json(envelope.data), CommandKey.parse(envelope.key)
    bare = replace(envelope, data="").dumps()
    return OrderReceived(envelope.id, Order(key.operation, bare, said.of, said.terminates))


def answer(reply: NestedReply, source: str, now: float) -> Envelope:
    """The envelope of an answer: to whoever asked, under its key, or that of what it closes; caused by it."""
    command = Envelope.loads(reply.order.envelope)
    return Envelope(
        id=fresh_id(), kind="reply", type=reply.type, source=source, time=now, data=reply.data, to=command.reply_to,
        subject=command.subject, correlation_id=command.correlation_id, causation_id=command.id,
        key=str(CommandKey.parse(command.key).of(reply.operation)), saga=command.saga,
        saga_version=command.saga_version, step=command.step, attempt=command.attempt, outcome=reply.outcome,
        traceparent=command.traceparent, tracestate=command.tracestate, own_headers=command.own_headers,
    )  # fmt: skip
