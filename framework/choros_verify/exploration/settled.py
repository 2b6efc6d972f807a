"""What a person says of a step that nobody but a person can know, or has undone: at a parked undo, and at the end."""

from collections.abc import Iterator, Mapping

from choros.saga.machine.inputs import SettleRequested
from choros.saga.machine.instance import Instance, NodeState
from choros.saga.outline import Commanded, Outline
from choros_verify.exploration.books import Books


def undoes(state: NodeState, leaf: Commanded) -> bool:
    """Whether the command of this step that is under way is its undo."""
    return leaf.existing or state.closes == "undo"


def is_there(books: Books, leaf: Commanded) -> bool:
    """Whether there is anything to undo: of what was there before the saga, unless its one command was carried out."""
    return books.stands is not leaf.existing


def undone_by_hand(books: Books, leaf: Commanded) -> Books:
    """After somebody has seen to it that nothing is there."""
    if not is_there(books, leaf):
        return books
    return books.apply() if leaf.existing else books.undo()


def settled_at_end(
    outline: Outline, instance: Instance, replies: Mapping[str, str]
) -> Iterator[tuple[Commanded, SettleRequested]]:
    """By step: what may be said of what an ended saga has left standing, or in doubt."""
    for path, state in instance.nodes.items() if instance.terminal else ():
        leaf = outline.commanded(path)
        if leaf is None or state.progress not in ("standing", "in_doubt"):
            continue
        yield leaf, SettleRequested("settle", path, state.round)
        if state.progress == "in_doubt":
            reply = replies[leaf.command_of(state.choice).reply_type.type_name]
            yield leaf, SettleRequested("settle", path, state.round, stands=True, reply=reply)
