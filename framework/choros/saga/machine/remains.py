"""What a saga has left behind that does not come to its end as it should: what stands, and what nobody knows of."""

from collections.abc import Sequence

from choros.saga.machine.instance import Instance
from choros.saga.machine.rerun import stands
from choros.saga.outline import Outline
from choros.saga.paths import declared


def left_standing(outline: Outline, instance: Instance) -> Sequence[str]:
    """The steps whose undo it went on without; of a terminated saga, all whose effect is there, and the facts that it
    told too early."""
    if instance.status != "terminated":
        return instance.standing
    told = {leaf.path for leaf in outline.publications if leaf.early}
    return [
        path
        for path, state in instance.nodes.items()
        if state.progress == "standing"
        or (stands(state) and (leaf := outline.commanded(path)) and leaf.changes)
        or (state.progress == "published" and declared(path) in told)
    ]


def left_in_doubt(instance: Instance) -> Sequence[str]:
    """The steps of a terminated saga of which nobody knows whether their effect is there."""
    return [path for path, state in instance.nodes.items() if state.progress == "in_doubt"]
