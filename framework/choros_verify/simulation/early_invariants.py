"""What must hold of answers that sagas give while they go on."""

from collections.abc import Iterable, Iterator

from choros.saga.machine.instance import Instance
from choros_verify.simulation.early_answers import EarlyAnswer
from choros_verify.simulation.evidence import Evidence


def early_violations(run: Evidence) -> Iterator[str]:
    """73. What is told while a saga goes on was committed before: nobody acts on what a crash takes back."""
    for told in run.told_early:
        known = (one for one in run.commits if one.at <= told.at and one.transition.record.saga_id == told.saga_id)
        if not any(_says(one.transition.record.state, one.transition.entries.values(), told) for one in known):
            yield f"73: {run.name(told.saga_id)} told {told.step} before that was committed."


def _says(state: str, entries: Iterable[str], told: EarlyAnswer) -> bool:
    """In the record, or in what lies apart from it."""
    body = told.reply.replace('"', '\\"')
    return Instance.loads(state).state(told.step).reply == told.reply or any(body in text for text in entries)
