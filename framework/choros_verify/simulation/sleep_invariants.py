"""What must hold of sagas that sleep: read from the store's commits."""

from collections.abc import Iterator

from choros.saga.machine.instance import Instance
from choros.store.sagas import Record
from choros_verify.simulation.evidence import Evidence


def sleep_violations(run: Evidence) -> Iterator[str]:
    """5. The moment that a sleep ends at is decided once, and by the clock of whoever decides it has come by then. Not
    where a store steps back behind what it acknowledged."""
    if run.were("lose"):
        return
    before: dict[str, Instance] = {}
    for commit in run.commits:
        record = commit.transition.record
        after = Instance.loads(record.state)
        if record.saga_id in before:
            yield from (
                f"5: {run.name(record.saga_id)} {said}" for said in _slept(before[record.saga_id], after, record)
            )
        if any(state.until for state in after.nodes.values()):
            before[record.saga_id] = after
        else:
            before.pop(record.saga_id, None)


def _slept(before: Instance, after: Instance, record: Record) -> Iterator[str]:
    for path, was in before.nodes.items():
        now = after.state(path)
        if (
            was.until is None
            or was.progress != "asleep"
            or ((after.backward or after.terminating) and now.until is None)
        ):
            continue
        if after.backward:
            yield f"is undone, and still sleeps at {path}."
        elif now.until not in (None, was.until):
            yield f"sleeps at {path} until another moment than was decided."
        elif now.until is None and record.updated_at < was.until:
            yield f"slept too short at {path}."
