"""Labels: by what of it a record is found in its store while it waits to be told something."""

from collections.abc import Iterable, Sequence
from typing import Any

from choros.app.awaited_fact import label_of
from choros.saga.machine.inputs import Event
from choros.saga.machine.instance import Instance
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait
from choros.store.sagas import LABEL

WAITS = "waits"
"""Of every record that waits to be told something; `WAITS:role` where that is for somebody to say."""
AWAITS = "awaits:"
"""Before what joins a record with the facts that it waits for; then the text of the label is the paths of the waits."""
_BETWEEN = "\n"


UNSETTLED = "unsettled"
"""Of every record that has left something standing, or has ended with something in doubt, until that is settled."""
_MOVE_IT = frozenset({"left_standing", "left_in_doubt", "by_hand", "terminated"})


def label_entries(saga: Saga[Any], before: Instance, after: Instance, events: Iterable[Event] = ()) -> dict[str, str]:
    """The entries that a commit has to write, so that the record has the labels that it should have."""
    if not saga.waits and _MOVE_IT.isdisjoint(event.kind for event in events):
        return {}
    had, has = _labels(saga, before), _labels(saga, after)
    gone = {LABEL + one: "" for one in had if one not in has}
    return gone | {LABEL + one: text for one, text in has.items() if had.get(one) != text}


def paths_in(text: str) -> Sequence[str]:
    """The waits that the label of a record speaks of."""
    return text.split(_BETWEEN) if text else []


def _labels(saga: Saga[Any], instance: Instance) -> dict[str, str]:
    found: dict[str, str] = {UNSETTLED: "1"} if instance.is_unsettled else {}
    for path, state in instance.nodes.items():
        leaf = saga.outline.leaf(path) if state.takes_signal else None
        if not isinstance(leaf, SignalWait):
            continue
        found[WAITS] = "1"
        if leaf.by:
            found[f"{WAITS}:{leaf.by}"] = "1"
        if state.awaits:
            name = AWAITS + label_of(leaf.signal.type_name, state.awaits)
            found[name] = _BETWEEN.join([*paths_in(found.get(name, "")), path])
    return found
