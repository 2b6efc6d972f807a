"""Updates: whether the declaration that an instance follows answers them; and the answers, entries under their ids."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

from choros.errors import MessageRejected
from choros.saga.machine.inputs import UpdateAnswer, UpdateRequested
from choros.saga.saga import Saga

_JSON = TypeAdapter(UpdateAnswer)


def checked_update(saga: Saga[Any], asked: UpdateRequested) -> UpdateRequested:
    """The same; raises MessageRejected where the saga answers no such update."""
    declared = saga.outline.updates.get(asked.update)
    if declared is None:
        raise MessageRejected("The saga answers no such update.")
    declared.update.from_json(asked.body)
    return asked


def entry_of(id: str) -> str:
    """The name of the entry of the answer that was given under this id; no path of a node has a colon."""
    return f"answer:{id}"


def answer_entries(answers: Iterable[UpdateAnswer]) -> Mapping[str, str]:
    """What a commit has to write, so that each is answered so for ever."""
    return {entry_of(one.id): _JSON.dump_json(one, exclude_defaults=True).decode() for one in answers}


def read_answer(text: str) -> UpdateAnswer:
    """One that was kept; raises ValueError."""
    return _JSON.validate_json(text)
