"""The paths of nodes. In the declaration an item has no index: `lines[].reserve_line`; in an instance it has one:
`lines[3].reserve_line`. `[-1]` is the last one."""

import re

_INDEX = re.compile(r"\[[0-9]+\]")


def declared(path: str) -> str:
    """The path as the declaration has it, without the indexes of the items on the way."""
    return _INDEX.sub("[]", path) if "[" in path else path


def around(path: str) -> str:
    """The path of what it stands in: of an item, that is the loop."""
    return path.rpartition("[" if path.endswith("]") else ".")[0]


def item_around(path: str) -> str:
    """The path of the innermost item that it stands in, or is; empty where there is none."""
    return path[: path.rfind("]") + 1]


def stands_in(path: str, node: str) -> bool:
    """Whether it is this node, or stands in it."""
    return path == node or path.startswith((f"{node}.", f"{node}["))


def index_of(loop: str, path: str) -> int | None:
    """Which item of this loop it is; None where it is none."""
    if not (path.endswith("]") and path.startswith(f"{loop}[")):
        return None
    index = path[len(loop) + 1 : -1]
    return int(index) if index.isdigit() else None


def in_item(path: str, item: str) -> str:
    """The path of a node of the declaration in this item; itself where it does not stand there."""
    general = declared(item)
    return item + path[len(general) :] if path.startswith(general) else path


def same_item(path: str, asker: str) -> str:
    """The path of a node of the declaration as another node means it, which stands in an item: that of the same one."""
    loop, bracket, rest = path.partition("[]")
    while bracket and asker.startswith(f"{loop}[") and "]" in asker[len(loop) :]:
        item = asker[: asker.index("]", len(loop)) + 1]
        loop, bracket, rest = (item + rest).partition("[]")
    return loop + bracket + rest


def number_entry(number: int) -> str:
    """The name of the entry that says what was accepted under this number."""
    return f"#{number}"
