"""The words for the orders in which what was done is undone."""

from collections.abc import Mapping
from typing import Literal

UndoOrder = Literal["newest_first", "side_by_side", "by_dependency", "at_once"]
"""Side by side: each way by itself, the newest of it first."""
FREE: tuple[UndoOrder, ...] = ("by_dependency", "at_once")
"""Those in which nothing waits just for being older."""
IN_WORDS: Mapping[UndoOrder, str] = {
    "newest_first": "newest first", "side_by_side": "side by side", "by_dependency": "by dependency",
    "at_once": "all at once",
}  # fmt: skip


def within(order: UndoOrder) -> UndoOrder:
    """In which order what stands in one way through a node is undone, where the ways are in this one."""
    return "newest_first" if order == "side_by_side" else order
