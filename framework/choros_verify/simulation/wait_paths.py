"""The waits of a saga, by the paths by which somebody may tell them something."""

from collections.abc import Iterator

from choros.saga.outline import Composite, Outline
from choros.saga.waiting import SignalWait

ITEMS = 3
"""So many of a loop are told something."""


def waits_of(outline: Outline) -> list[str]:
    """The paths by which its waits may be told something: in a list the first items; of a `Repeat`, whichever time."""
    waits = [leaf.path for leaf in outline.leaves.values() if isinstance(leaf, SignalWait)]
    return [path for wait in waits for path in _paths(outline, wait)]


def _paths(outline: Outline, path: str) -> Iterator[str]:
    """The same where no list is around it."""
    loops = [path[:at] for at in range(len(path)) if path.startswith("[]", at)]
    around = next((one for one in loops if _is_list(outline, one)), "")
    for index in range(ITEMS) if around else ():
        yield f"{around}[{index}]{path[len(around) + 2 :]}"
    if not around:
        yield path


def _is_list(outline: Outline, path: str) -> bool:
    node = outline.nodes.get(path)
    return isinstance(node, Composite) and node.loop is not None and node.loop.item is not None
