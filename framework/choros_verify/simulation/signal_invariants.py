"""What must hold of what sagas are told: by the commits of their store, and by what whoever told them was answered."""

from collections.abc import Iterator

from choros.saga.machine.instance import Instance
from choros.store.sagas import Record
from choros_verify.simulation.evidence import Evidence

NEVER = Instance("", "")
"""What was there before a saga began."""


def signal_violations(run: Evidence) -> Iterator[str]:
    """27. What a wait is told counts, and the first alone; what came early is not lost, and none lapses too soon. Not
    where a store steps back behind what it acknowledged."""
    if run.were("lose"):
        return
    before: dict[str, Instance] = {}
    for commit in run.commits:
        record = commit.transition.record
        if '"awaiting"' in record.state or '"early"' in record.state or record.saga_id in before:
            after = Instance.loads(record.state)
            was = before.get(record.saga_id, NEVER)
            yield from (f"27: {run.name(record.saga_id)} {said}" for said in _told(was, after, record))
            before[record.saga_id] = after
    for note in run.notes:
        if "asked again" in note.text:
            yield f"27: a signal was answered in two ways: {note.text}"


def _told(before: Instance, after: Instance, record: Record) -> Iterator[str]:
    early, over = dict(after.early), after.backward or after.terminating
    for path, now in after.nodes.items():
        was = before.state(path)
        if now.progress == "awaiting" and (over or path in early):
            yield f"still waits at {path}, where it is {'undone' if over else 'told already'}."
        if (
            now.progress == "lapsed" != was.progress
            and was.progress == "awaiting"
            and record.updated_at < (was.not_after or 0.0)
        ):
            yield f"lapsed too soon at {path}."
        if was.progress == now.progress == "ok" and was.reply != now.reply:
            yield f"was told something else later at {path}."
    for path, _ in before.early:
        taken = after.state(path).progress == "ok" or (after.nodes_apart and path not in after.nodes)
        if not (path in early or taken or over):
            yield f"lost what it was told early for {path}."
