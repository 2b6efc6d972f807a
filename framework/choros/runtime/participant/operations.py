"""Which type of command goes with which operation: the sagas that this process knows say so.

A saga of another application, or of a version that is not deployed here yet, says nothing: its commands are believed.
"""

from functools import lru_cache
from types import MappingProxyType
from typing import Any

from choros.errors import MessageRejected
from choros.saga.paths import declared
from choros.saga.saga import Saga, Sagas
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope

NO_SAGAS: Sagas = MappingProxyType({})
"""Of a service that is declared on its own: which operation a type stands for, nobody knows."""


def check_operation(envelope: Envelope, key: CommandKey, sagas: Sagas) -> None:
    """Raises MessageRejected for an undo's type under the key of a `do`, and for any other mix-up like that."""
    saga = sagas.get((envelope.saga, envelope.saga_version))
    if saga is None or key.operation == "close":
        return
    sent = _sent_as(saga, _unversioned(envelope.type))
    path = declared(key.path)
    here = [operation for at, operation in sent if at == path or path not in saga.outline.leaves]
    # Without any, the declaration here does not have the type: it is not the one that the command was sent by.
    if sent and key.operation not in here:
        raise MessageRejected("The type of the command does not fit the step and operation of its idempotency key.")


@lru_cache(maxsize=1000)
def _sent_as(saga: Saga[Any, Any], wanted: str) -> list[tuple[str, str]]:
    """Path and operation of each command of this type."""
    return [
        (leaf.path, operation)
        for leaf in saga.outline.commands
        for operation, commands in leaf.commands.items()
        for command in commands
        if _unversioned(command.type_name) == wanted
    ]


def _unversioned(type_name: str) -> str:
    """A newer version of a type may be sent under the same declaration."""
    return type_name.rpartition(".v")[0]
