"""Labels: by what of it a record is found in its store while it waits to be told something."""

from typing import Any

from choros.saga.machine.instance import Instance
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait
from choros.store.sagas import LABEL

WAITS = "waits"
"""Of every record that waits to be told something; `WAITS:role` where that is for somebody to say."""


def label_entries(saga: Saga[Any], before: Instance, after: Instance) -> dict[str, str]:
    """The entries that a commit has to write, so that the record has the labels that it should have."""
    if not saga.waits:
        return {}
    had, has = _labels(saga, before), _labels(saga, after)
    return {LABEL + one: "" for one in had - has} | {LABEL + one: "1" for one in has - had}


def _labels(saga: Saga[Any], instance: Instance) -> set[str]:
    leaves = [saga.outline.leaf(path) for path, state in instance.nodes.items() if state.takes_signal]
    waits = [leaf for leaf in leaves if isinstance(leaf, SignalWait)]
    return ({WAITS} if waits else set()) | {f"{WAITS}:{leaf.by}" for leaf in waits if leaf.by}
