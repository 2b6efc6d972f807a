"""Bodies of answers, made up from what a saga declares."""

from collections.abc import Container
from typing import Any

from choros.saga.saga import Saga
from choros_verify.exploration.updates import update_types
from choros_verify.simulation.invention import invent


def reply_examples(saga: Saga[Any], given: Container[str] = ()) -> dict[str, str]:
    """The body of an example of every answer, signal and update that is not given, by its type name."""
    signals = (kind for leaf in saga.outline.leaves.values() for kind in leaf.signals)
    kinds = dict.fromkeys([*saga.outline.answers, *signals, *update_types(saga.outline)])
    return {one.type_name: invent(one).to_json() for one in kinds if one.type_name not in given}
