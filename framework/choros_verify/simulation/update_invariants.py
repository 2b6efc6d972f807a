"""What must hold of what sagas are asked: by the commits of their store, and by what whoever asked was answered."""

from collections import defaultdict
from collections.abc import Iterator

from choros.runtime.orchestrator.updates import entry_of, read_answer
from choros.saga.machine.instance import Instance
from choros_verify.simulation.evidence import Evidence


def update_violations(run: Evidence) -> Iterator[str]:
    """27. Each update is answered once; what was accepted stands from then on, and nothing is changed that nobody was
    told of. Not where a store steps back behind what it acknowledged."""
    if run.were("lose"):
        return
    before: dict[str, Instance] = {}
    answers: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for commit in run.commits:
        record, entries = commit.transition.record, commit.transition.entries
        new = {name: text for name, text in entries.items() if name.startswith(entry_of(""))}
        if new or record.saga_id in before:
            after = Instance.loads(record.state)
            name, known = run.name(record.saga_id), answers[record.saga_id]
            yield from (f"27: {name} {said}." for said in _changed(before.get(record.saga_id), after, new))
            yield from (f"27: {name} has answered {one} twice." for one in new if one in known)
            known |= new
            if after.updates != len(known):
                yield f"27: {name} counts {after.updates} updates, and has kept {len(known)} answers."
            before[record.saga_id] = after


def _changed(before: Instance | None, after: Instance, new: dict[str, str]) -> Iterator[str]:
    given = [read_answer(text) for text in new.values()]
    accepted = {answer.update for answer in given if not answer.refused}
    was, now = dict(before.updated) if before else {}, dict(after.updated)
    yield from (f"has accepted {one} and not kept it" for one in sorted(accepted - now.keys()))
    changed = {one for one in was.keys() | now.keys() if was.get(one) != now.get(one)}
    yield from (f"has another {one}, and told nobody" for one in sorted(changed - accepted))
