"""What must hold of one decision about what is asked of a saga."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from choros.messages import Message
from choros.saga.machine.inputs import Decision, Input, UpdateRequested
from choros.saga.machine.instance import Instance
from choros.saga.outline import Outline
from choros_verify.exploration.violation import hold

MOST_ASKED = 2
"""Updates that a saga is asked for: more would only be counted."""


def asked_for(outline: Outline, instance: Instance, examples: Mapping[str, str]) -> Iterator[UpdateRequested]:
    """What somebody may ask at any time, once more as well."""
    if instance.updates < MOST_ASKED:
        for name, update in outline.updates.items():
            yield UpdateRequested("update", name, examples[update.update.type_name])


def update_types(outline: Outline) -> Iterable[type[Message]]:
    """Those of which there have to be examples."""
    return [update.update for update in outline.updates.values()]


def updates(outline: Outline, before: Instance, decided: Decision, inputs: Sequence[Input]) -> None:
    """Each is answered once; what is accepted is kept, and nothing that was sent before has used it."""
    asked = [given for given in inputs if isinstance(given, UpdateRequested)]
    after = decided.instance
    hold(len(decided.answers) == len(asked), "what is asked of the saga is not answered, or twice", 27)
    hold(after.updates - before.updates == len(asked), "what is asked of the saga does not count once", 27)
    accepted = {answer.update for answer in decided.answers if not answer.refused}
    bodies = {given.update: given.body for given in asked}
    for name in accepted:
        hold(dict(after.updated).get(name) == bodies[name], f"{name} is accepted, and not kept", 27)
        over = before.terminal or before.backward or before.terminating
        hold(not over, f"{name} is accepted, and the saga goes on to nothing that uses it", 27)
        used = [path for path in outline.updates[name].users if before.state(path).progress != "pending"]
        hold(not used, f"{name} is accepted, and {' and '.join(used)} has begun without it", 11)
    if not accepted:
        hold(after.updated == before.updated, "something was changed, and nobody was told so", 27)
