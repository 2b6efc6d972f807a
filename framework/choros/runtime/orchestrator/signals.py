"""Signals: whether the declaration that an instance follows takes them; what they come to is the machine's.

One off the wire is read without any declaration of a saga, and judged only behind the load of its record, as replies
are: which wait it is for, the declaration says that the instance follows."""

from collections.abc import Mapping
from typing import Any

from choros.app.service import Service
from choros.errors import MessageRejected
from choros.saga.machine.inputs import SignalRequested
from choros.saga.renaming import SAME, Renaming
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait
from choros.transport.topology import Names
from choros.values import replace
from choros.wire.envelope import Envelope


def signalled(saga: Saga[Any], signal: SignalRequested, names: Renaming = SAME) -> SignalRequested:
    """The same, to the wait as it is called now; raises MessageRejected where the saga has no such wait, or that waits
    for something else."""
    if names.pairs and saga.outline.leaf(signal.step) is None:
        signal = replace(signal, step=names.here(signal.step))
    leaf = saga.outline.leaf(signal.step)
    if not isinstance(leaf, SignalWait):
        raise MessageRejected("The signal names no wait of this saga.")
    leaf.signal.from_json(signal.body)
    return signal


def read_signal(envelope: Envelope, exchange: str, names: Names, services: Mapping[str, Service]) -> Envelope:
    """The envelope of a signal that its service may send; raises MessageRejected for every other."""
    if envelope.kind != "signal":
        raise MessageRejected(f"A {envelope.kind} came to a signal queue.")
    if exchange != names.way_of("signal", envelope.source):
        raise MessageRejected(f"It came through {exchange}, which is not the way of the service that it names.")
    speaker = envelope.source.rpartition("/")[2]
    service = services.get(speaker)
    if service is None or envelope.type not in (kind.type_name for kind in service.signals):
        raise MessageRejected("The service that it names was not given signals of this type.")
    if not (envelope.correlation_id or envelope.subject):
        raise MessageRejected("The signal names no instance: it has neither correlationid nor subject.")
    return envelope


def judged_signal(saga: Saga[Any], envelope: Envelope, names: Renaming = SAME) -> SignalRequested:
    """What it is to an instance of this saga; raises MessageRejected where that waits for nothing of the kind."""
    if envelope.saga != saga.name:
        raise MessageRejected("The signal names another saga.")
    path = envelope.step or _only_wait(saga, envelope.type)
    leaf = saga.outline.leaf(path) or saga.outline.leaf(names.here(path))
    if isinstance(leaf, SignalWait) and leaf.signal.type_name != envelope.type:
        raise MessageRejected("The wait that it names is for another signal.")
    return signalled(saga, SignalRequested(envelope.id, path, envelope.data), names)


def _only_wait(saga: Saga[Any], type_name: str) -> str:
    """Where none is named, the only one for this type."""
    leaves = (leaf for leaf in saga.outline.leaves.values() if isinstance(leaf, SignalWait))
    paths = [leaf.path for leaf in leaves if leaf.signal.type_name == type_name]
    if len(paths) > 1:
        raise MessageRejected("The saga waits for that at several places, and the signal names none.")
    return "".join(paths)
