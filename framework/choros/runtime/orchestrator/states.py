"""Which states of a saga's nodes stand in its record: those that are open, in each of these the last one that the saga
has come to, and the newest. Older ones are entries, so that no answer writes again what is over."""

import json
from collections.abc import Callable, Mapping

from pydantic import TypeAdapter

from choros.saga.machine.instance import ROOT, UNTOUCHED, Instance, NodeState, States
from choros.saga.paths import around, number_entry
from choros.values import replace

MOST_IN_RECORD, SPARE = 16, 8
"""States that stay in the record, of which each answer writes all: a saga of no more steps has no others. Where some
lie apart, so many more come to stand in it before the oldest go, all together."""
_OPEN = ("pending", "sent", "held", "asleep", "entered", "in_doubt", "awaiting", "standing")
_OLDEST = ("refused", "undone", "retracted", "listed")
"""What is done with, and what nobody asks for before it is begun."""
_JSON = TypeAdapter(NodeState)


def with_entries(instance: Instance, entries: Mapping[str, str]) -> Instance:
    """The instance with its states that came as entries. One that was asked for, and is not there, is untouched.

    Raises ValueError where a newer choros has written one."""
    if not instance.nodes_apart:
        return instance
    found = {path: text for path, text in entries.items() if ":" not in path and path not in instance.nodes}
    loaded = {path: _JSON.validate_json(text) if text else UNTOUCHED for path, text in found.items()}
    return replace(instance, nodes=States({**loaded, **instance.nodes}))


def states_and_entries(
    instance: Instance, loaded: Mapping[str, str], place: Callable[[str], int]
) -> tuple[Instance, dict[str, str]]:
    """The instance with what stays in its record, and the entries that are to be written; `loaded` are those that the
    store has, in any order, and `place` tells which of two nodes is the newer one, where they have no numbers."""
    if len(instance.nodes) <= MOST_IN_RECORD + (SPARE if instance.nodes_apart else 0):
        return instance, {}
    states = [(path, state) for path, state in instance.nodes.items() if state != UNTOUCHED]
    # On the way back, what is next is older than what is done with.
    states.sort(key=lambda one: (one[1].progress not in _OLDEST, one[1].number, place(one[0])))
    told = sorted(states, key=lambda one: (one[1].progress not in _OLDEST, place(one[0])))  # not all have numbers
    last = {around(path): path for path, state in told if state.progress != "listed"}
    held = {path for inside, path in last.items() if inside == ROOT or instance.state(inside).progress == "entered"}
    newest = {path for path, state in states[-MOST_IN_RECORD:] if state.progress != "listed"}
    over = [one for one in states if one[0] not in newest | held and not _is_open(one[1])]
    texts = {path: _text(state) for path, state in over}
    written = {path: text for path, text in texts.items() if loaded.get(path) != text}
    numbers = {one.number: path for path, one in over if one.number and path in written}
    written |= {number_entry(number): _text(NodeState("listed", choice=path)) for number, path in numbers.items()}
    kept = States(one for one in states if one[0] not in texts)
    return replace(instance, nodes=kept, nodes_apart=instance.nodes_apart or bool(texts)), written


def _text(state: NodeState) -> str:
    return _JSON.dump_json(state, exclude_defaults=True).decode()


def whole_state(state: str, entries: Mapping[str, str]) -> str:
    """The state of a record as one document for a person, with all of its entries."""
    paths = {path: json.loads(text) for path, text in entries.items() if ":" not in path and "#" not in path}
    told = json.loads(state) if paths else {}
    return json.dumps({**told, "nodes": {**paths, **told["nodes"]}, "nodes_apart": False}) if paths else state


def _is_open(state: NodeState) -> bool:
    """Whether something may come to it without anybody asking for it."""
    return state.leg is not None or bool(state.parked) or state.turns or state.unreleased or state.progress in _OPEN
