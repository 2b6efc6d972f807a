"""Replies off the wire: what may become an input of the machine, and what is parked.

A reply is read without any declaration, and judged only behind the load of its saga's record: a worker that does not
know the instance's declaration must not judge its replies by another one."""

from collections.abc import Collection
from typing import Any

from choros.errors import MessageRejected
from choros.messages import Closed, Failure, LeftStanding, NothingToUndo, Refusal, Reply, refusal_with
from choros.names import ORCHESTRATOR
from choros.saga.machine.inputs import Answered
from choros.saga.outline import Commanded
from choros.saga.renaming import SAME, Renaming
from choros.saga.saga import Saga
from choros.transport.topology import Names
from choros.values import replace
from choros.wire import undone
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope


def read_reply(envelope: Envelope, exchange: str, names: Names, application: str) -> Envelope:
    """The envelope with a source that can be believed, or none; raises MessageRejected where it can be no reply of any
    saga, or came by the way of another service than it names."""
    if envelope.kind != "reply":
        raise MessageRejected(f"A {envelope.kind} came to a reply queue.")
    key = CommandKey.parse(envelope.key)
    # Whose effect an undo reaches, the machine knows: it takes only the keys that it sends.
    if key.saga_id != envelope.correlation_id and key.operation == "do":
        raise MessageRejected("The correlation id is not the one of the idempotency key.")
    return _believed(envelope, exchange, names, application)


def _believed(envelope: Envelope, exchange: str, names: Names, application: str) -> Envelope:
    """Only the service itself may write to its exchange. Past it come the replies of services from before it had one
    and what an administrator has put back; who may write there may speak for everybody."""
    if exchange == names.way_of("reply", envelope.source):
        if envelope.source.endswith(f"/{ORCHESTRATOR}") and exchange != names.sagas_of(application):
            raise MessageRejected("It came from the sagas of another application, in which none of ours is nested.")
        return envelope
    if exchange in (names.replies, ""):
        return replace(envelope, source="")
    raise MessageRejected(f"It came through {exchange}, which is not the way of the service that it names.")


def judge(saga: Saga[Any], versions: Collection[int], envelope: Envelope, names: Renaming = SAME) -> Answered:
    """The input that this reply to an instance of the saga stands for; `versions` are those that it was ever of, and
    `names` those of its nodes that are called otherwise in its keys.

    Raises MessageRejected where no command of the saga can have asked for it."""
    if envelope.saga != saga.name or envelope.saga_version not in versions:
        raise MessageRejected("The reply names another saga, or another version of this one.")
    key = known_here(names, CommandKey.parse(envelope.key))
    leaf = _asked(saga, key)
    _check_speaker(envelope, leaf)
    return _answer(envelope, key, leaf)


def known_here(names: Renaming, key: CommandKey) -> CommandKey:
    """A key off the wire, with the path here."""
    return replace(key, path=names.here(key.path)) if names.pairs else key


def known_there(names: Renaming, key: CommandKey) -> CommandKey:
    """A key for the wire."""
    return replace(key, path=names.there(key.path)) if names.pairs else key


def _asked(saga: Saga[Any], key: CommandKey) -> Commanded:
    leaf = saga.outline.commanded(key.path)
    if leaf is None:
        raise MessageRejected("The idempotency key names no commanded step of this saga.")
    if key.operation == "undo" and leaf.undo is None and not leaf.nests:
        raise MessageRejected("The idempotency key names the undo of a step that has none.")
    return leaf


def _check_speaker(envelope: Envelope, leaf: Commanded) -> None:
    if envelope.source and envelope.source.rpartition("/")[2] != leaf.to:
        raise MessageRejected(f"The reply is of another service than {leaf.to}, which was commanded.")


def _answer(envelope: Envelope, key: CommandKey, leaf: Commanded) -> Answered:
    outcome = envelope.outcome or "ok"
    if outcome == "refused":
        return _refused(envelope, key, leaf)
    if outcome == "failed":
        failure = Failure.from_json(envelope.data)
        return Answered(envelope.id, key, envelope.attempt, outcome, envelope.data, failure.code)
    expected = _expected(leaf, key)
    for reply in expected:
        if envelope.type == reply.type_name:
            reply.from_json(envelope.data)
            kind = reply if key.operation == "do" else None
            standing = reply is LeftStanding
            return Answered(envelope.id, key, envelope.attempt, outcome, envelope.data, kind=kind, standing=standing)
    raise MessageRejected(f"The reply is not of type {' or '.join(reply.type_name for reply in expected)}.")


def _refused(envelope: Envelope, key: CommandKey, leaf: Commanded) -> Answered:
    """What is given with it is read only where the command declares it here: else nobody could ask for it."""
    read, data = Refusal.from_json(envelope.data), ""
    declared = leaf.refusal_data.get(read.code)
    if declared and read.data is not None:
        data = refusal_with(declared).from_json(envelope.data).data.to_json()
    failure = Failure(code=read.code, detail=read.detail, step=read.step, kind=read.kind)
    taken_back = undone.read(envelope.undone)
    return Answered(
        envelope.id, key, envelope.attempt, "refused", failure.to_json(), read.code, data, taken_back,
        standing=leaf.nests and read.data is not None,
    )  # fmt: skip


def _expected(leaf: Commanded, key: CommandKey) -> tuple[type[Reply], ...]:
    if key.operation == "close":
        return (Closed,)
    nothing = (NothingToUndo,) if key.operation == "undo" else ()
    return (*leaf.answers(key.operation), *nothing)
