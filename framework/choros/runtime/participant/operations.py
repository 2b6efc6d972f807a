"""Which type of command goes with which operation: the sagas that this process knows say so.

A saga of another application, or of a version that is not deployed here yet, says nothing: its commands are believed.
"""

from types import MappingProxyType

from choros.errors import MessageRejected
from choros.saga.paths import declared
from choros.saga.saga import Sagas
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope

NO_SAGAS: Sagas = MappingProxyType({})
"""Of a service that is declared on its own: which operation a type stands for, nobody knows."""


def check_operation(envelope: Envelope, key: CommandKey, sagas: Sagas) -> None:
    """Raises MessageRejected for an undo's type under the key of a `do`, and for any other mix-up like that."""
    saga = sagas.get((envelope.saga, envelope.saga_version))
    if saga is None or key.operation == "close":
        return
    wanted = _unversioned(envelope.type)
    sent = [
        (leaf.path, operation)
        for leaf in saga.outline.commands
        for operation, commands in leaf.commands.items()
        for command in commands
        if _unversioned(command.type_name) == wanted
    ]
    if not sent:  # the declaration here does not have it: it is not the one that the command was sent by
        return
    path = declared(key.path)
    here = [one for one in sent if one[0] == path] if path in saga.outline.leaves else sent
    if not any(operation == key.operation for _, operation in here):
        raise MessageRejected("The type of the command does not fit the step and operation of its idempotency key.")


def _unversioned(type_name: str) -> str:
    """A newer version of a type may be sent under the same declaration."""
    return type_name.rpartition(".v")[0]
