"""Signals: whether the declaration that an instance follows takes them; what they come to is the machine's."""

from typing import Any

from choros.errors import MessageRejected
from choros.saga.machine.inputs import SignalRequested
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait


def signalled(saga: Saga[Any], signal: SignalRequested) -> SignalRequested:
    """The same; raises MessageRejected where the saga has no such wait, or that waits for something else."""
    leaf = saga.outline.leaf(signal.step)
    if not isinstance(leaf, SignalWait):
        raise MessageRejected("The signal names no wait of this saga.")
    leaf.signal.from_json(signal.body)
    return signal
