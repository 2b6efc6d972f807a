"""Which inputs a saga has taken in: the ids of the newest stand in its record, those of older ones are entries."""

from collections.abc import Iterable

from choros.saga.machine.inputs import Lacking
from choros.store.sagas import Loaded

MOST_KEPT = 32
"""Ids that stay in the record: what comes again mostly does so at once. Only a record that is full has others apart."""
APART = "received:"
"""How the names of such entries begin; no path of a node has a colon."""


def taken_in(loaded: Loaded, asked: Iterable[str]) -> frozenset[str]:
    """Which of these ids were taken in before; raises Lacking where that takes entries that were not loaded."""
    kept = frozenset(loaded.record.received)
    others = {_entry(one): one for one in {*asked} - kept} if len(loaded.record.received) >= MOST_KEPT else {}
    if lacking := others.keys() - loaded.entries.keys():
        raise Lacking(*lacking)
    return kept | {one for name, one in others.items() if loaded.entries[name]}


def kept_and_apart(received: tuple[str, ...], before: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """What of these ids stays in the record, and the entries that the others become: each says the how manyth input it
    was, since so many are apart already."""
    apart = enumerate(received[:-MOST_KEPT], before + 1)
    return received[-MOST_KEPT:], {_entry(one): str(number) for number, one in apart}


def every_id(whole: Loaded) -> tuple[str, ...]:
    """Those of all inputs, oldest first; of a record that came with all its entries."""
    apart = sorted((len(number), number, name) for name, number in whole.entries.items() if name.startswith(APART))
    return (*(name.removeprefix(APART) for _, _, name in apart), *whole.record.received)


def _entry(one: str) -> str:
    return APART + one
