"""Moving an instance to another declaration of its saga, as a person asks for: the way out where the one that it was
begun with is gone, or was changed under the same version."""

from typing import Any

from choros.errors import UsageError
from choros.runtime.orchestrator.states import MOST_IN_RECORD
from choros.runtime.orchestrator.work import Move
from choros.saga.difference import paths, why_not_moved, why_not_named, why_taken
from choros.saga.machine.instance import UNTOUCHED, Instance, NodeState, States
from choros.saga.renaming import Renaming, renaming, with_names
from choros.saga.saga import Saga, hash_of
from choros.store.sagas import Record
from choros.values import replace


def moved(saga: Saga[Any] | None, record: Record, instance: Instance, move: Move) -> tuple[Record, Instance]:
    """The record as it goes on; raises UsageError where the two declarations differ in what it has come to."""
    if saga is None:
        raise UsageError(
            f"This application does not know saga {record.saga!r} version {move.version}.", "choros check APP."
        )
    if record.fingerprint == saga.fingerprint.hash:
        raise UsageError(f"Saga {record.saga_id} follows this declaration already.", "nothing is left to do.")
    if record.fingerprint not in ("", hash_of(move.text)):
        raise UsageError(f"Saga {record.saga_id} was moved in the meantime.", f"choros saga show {record.saga_id}.")
    begun = paths(move.text)
    if len(instance.steps) not in (0, len(begun)):
        raise UsageError(
            f"Saga {record.saga_id} has {len(instance.steps)} steps, and version {record.saga_version} {len(begun)}.",
            "the declaration that it began with.",
        )
    instance, why = _lifted(_with_names(saga, record, instance.named(begun), move))
    if sentence := why_not_moved(instance, saga.fingerprint.text, move.text, Renaming(move.names)):
        raise UsageError(
            f"Saga {record.saga_id} cannot go on as version {move.version}: {sentence}.",
            "declare what it has come to, and the closing facts, as the version that it began with did.",
        )
    nodes = States(instance.nodes)
    if why:
        nodes[saga.at_work(instance)] = NodeState(parked=why)
    carried = replace(instance, nodes=nodes, moved_from=(*instance.moved_from, record.saga_version))
    after = replace(
        record, saga_version=move.version, fingerprint=saga.fingerprint.hash, status=carried.status,
        state=carried.dumps(), wake_at=carried.wake_at,
    )  # fmt: skip
    return after, carried


def _with_names(saga: Saga[Any], record: Record, instance: Instance, move: Move) -> Instance:
    """The instance, with its nodes called as in the other declaration; raises UsageError where that cannot be."""
    here, names = saga.fingerprint.text, Renaming(move.names)
    after = with_names(instance, names, saga.outline)
    why = why_not_named(names, here, move.text) or why_taken(renaming(after), here)
    if names.pairs and instance.nodes_apart:
        why = why or f"it has come to more than {MOST_IN_RECORD} nodes, and what lies apart keeps its name"
    if why:
        raise UsageError(
            f"Saga {record.saga_id} cannot go on as version {move.version}: {why}.",
            'keep the names of then, with name="...".',
        )
    return after


def _lifted(instance: Instance) -> tuple[Instance, str]:
    """The instance as if it were not parked, and why it is, where nothing but that is known of the node: its message
    could not be built. It has not come to that yet, and waits at whatever is next in the other declaration."""
    nodes = {path: state for path, state in instance.nodes.items() if replace(state, parked="") != UNTOUCHED}
    lifted = replace(instance, nodes=States(nodes))
    return lifted, instance.why_parked if lifted != instance else ""
