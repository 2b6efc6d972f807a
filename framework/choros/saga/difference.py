"""Two fingerprints side by side: in which way they differ, as a sentence; and whether an instance may go from one
declaration to the other."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from choros.errors import unknown
from choros.saga.machine.instance import Instance
from choros.saga.paths import declared
from choros.saga.renaming import SAME, Renaming, own_name
from choros.values import replace

_A_WAY = re.compile(r"(?P<name>[^():]+)(?P<asked>(?:\([^()]*\))?): (?P<nodes>[^():]+)")
"""What says of a composite which nodes stand on one way through it: `is_large(plan-fair): both`."""
_LOOPS = ("for each", "repeat")
_IN_BRACKETS = re.compile(r"\(([^()]*)\)")
_A_PATH = re.compile(r"[\w.\[\]-]+(?=(?: refused| sent)?: )")
_HEAD = 4
"""Lines that are said of the whole saga."""
_MOST = 3
"""Paths named in one sentence."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """The text of a fingerprint, taken apart; what a newer choros has written into it is a line like any other."""

    rules: str
    start: str
    undone: str
    lock: str
    updates: tuple[str, ...]
    nodes: tuple[tuple[str, str], ...]
    """(path, all that is said of it)."""
    closings: tuple[str, ...]

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.nodes]


def _shape(text: str) -> _Shape:
    blocks: list[str] = []
    for line in text.splitlines():
        if line.startswith("  ") and blocks:
            blocks[-1] += f"; {line.strip()}"
        else:
            blocks.append(line)
    nodes = [(path, said) for path, _, said in (block.partition(": ") for block in blocks) if " " not in path]
    return _Shape(
        rules=" ".join(block.rpartition(", ")[2] for block in blocks if block.startswith("saga ")),
        start=" ".join(block for block in blocks if block.startswith("start ")),
        undone=" ".join(block for block in blocks if block.startswith("undone ")),
        lock=" ".join(block for block in blocks if block.startswith("lock ")),
        updates=tuple(block for block in blocks if block.startswith("update ")),
        nodes=tuple((path, said) for path, said in nodes if said),
        closings=tuple(block for block in blocks if block.startswith("when ")),
    )


def paths(text: str) -> list[str]:
    """The steps that a fingerprint's text names, in their order."""
    return _shape(text).paths


def difference(here: str, there: str, where: str = "in the record") -> str:
    """How the declaration here differs from another one's text, such as "3 steps here, 4 in the record: ship_order is
    not in this declaration"; empty where nothing of it matters."""
    mine, other = _shape(here), _shape(there)
    return (
        _other_paths(mine, other, where)
        or _first_other(_lines(mine), _lines(other), where)
        or _unlike("closing facts", mine.closings, other.closings, where)
        or _unlike("updates", mine.updates, other.updates, where)
    )


def _lines(shape: _Shape) -> Sequence[tuple[str, str]]:
    begins = shape.start.removeprefix("start ")
    head = [("choros has", shape.rules), ("it begins with", begins), ("it is", shape.undone), ("it takes", shape.lock)]
    return [*head, *shape.nodes]


def _other_paths(mine: _Shape, other: _Shape, where: str) -> str:
    missing, added = _without(other.paths, mine.paths), _without(mine.paths, other.paths)
    if missing or added:
        said = [f"{_listed(missing)} not in this declaration"] if missing else []
        said += [f"{_listed(added)} not {where}"] if added else []
        return f"{_counted(mine.paths)} here, {len(other.paths)} {where}: {', '.join(said)}"
    return _unlike("the order of the steps is", mine.paths, other.paths, where)


def _first_other(mine: Iterable[tuple[str, str]], other: Iterable[tuple[str, str]], where: str) -> str:
    theirs = dict(other)
    for name, said in mine:
        if said != theirs[name]:
            return f"{name}: {said or 'nothing'} here, {theirs[name] or 'nothing'} {where}"
    return ""


def _unlike(what: str, mine: Sequence[str], other: Sequence[str], where: str) -> str:
    if list(mine) == list(other):
        return ""
    return f"{what} {', '.join(mine) or 'none'} here, {', '.join(other) or 'none'} {where}"


def _without(these: Sequence[str], those: Sequence[str]) -> list[str]:
    return [one for one in these if one not in those]


def _listed(paths: Sequence[str]) -> str:
    more = len(paths) - _MOST
    shown = ", ".join(paths[:_MOST]) + (f" and {more} more" if more > 0 else "")
    return f"{shown} {'is' if len(paths) == 1 else 'are'}"


def _counted(paths: Sequence[str]) -> str:
    return f"{len(paths)} step{'' if len(paths) == 1 else 's'}"


# --- from one declaration to another ----------------------------------------------------------------------------------


def why_not_moved(instance: Instance, here: str, there: str, names: Renaming = SAME) -> str:
    """Why an instance that was begun under the text `there` cannot go on under the text `here`; empty if it can. The
    instance is the one that goes on: its nodes are called as here, which `names` says of each that was not before.

    All that it has touched must be the same, in the same order: its undo, and what later functions ask for. So must its
    start and its ends. What it has not come to may be anything."""
    mine, other = _called(_shape(here), SAME), _called(_shape(there), names)
    if sentence := _first_other(_lines(mine)[:_HEAD], _lines(other)[:_HEAD], "there"):
        return sentence
    for name, _ in instance.updated:
        (asked,) = (one for one in other.updates if one.startswith(f"update {name},"))
        if asked not in mine.updates:
            return f"it has accepted the {asked}, and the other version has no such update"
    come_to = set(map(declared, instance.nodes))
    touched = max((number for number, path in enumerate(other.paths, 1) if path in come_to), default=0)
    for number, (path, said) in enumerate(other.nodes[:touched]):
        now = mine.nodes[number] if number < len(mine.nodes) else ("nothing", "")
        if now != (path, said):
            return f"it has come as far as {path} ({said}), and there stands {now[0]} ({now[1]}) in the other version"
    return _unlike("closing facts", mine.closings, other.closings, "there")


def why_not_named(names: Renaming, here: str, there: str) -> str:
    """Why the text `there` cannot be read under these names of the text `here`; empty if it can."""
    mine, other = paths(here), paths(there)
    for old, new in names.pairs:
        if old not in other:
            return unknown(f"it has no {old!r} to be called otherwise.", old, other)[0].removesuffix(".")
        if names.here(old) != new:
            return f"{old} would be called {names.here(old)}, as what is around it is, and not {new}"
        if new not in mine:
            return unknown(f"{old} cannot be called {new!r}, which is not in the other version.", new, mine)[
                0
            ].removesuffix(".")
    return ""


def why_taken(names: Renaming, here: str) -> str:
    """Why these names there, by which others know the nodes of an instance, cannot be used under the text `here`:
    another node is called so; empty if they can."""
    known = paths(here)
    taken = [(old, path) for path in known if (old := names.there(path)) != path and old in known]
    return next((f"another step is called {old}, and would have the keys of {path}" for old, path in taken), "")


def renamed(here: str, there: str) -> Mapping[str, str]:
    """The nodes that are called otherwise here than there, where nothing else differs; nothing where something does."""
    mine, other = _called(_shape(here), SAME), _shape(there)
    if _lines(mine)[:_HEAD] != _lines(other)[:_HEAD] or len(mine.nodes) != len(other.nodes):
        return {}
    both = list(zip(other.paths, mine.paths, strict=True))
    names = {old: new for old, new in both if own_name(old) != own_name(new)}
    called = _called(other, Renaming(tuple(names.items())))
    same = (called.nodes, called.closings, called.updates) == (mine.nodes, mine.closings, mine.updates)
    return names if same else {}


def _called(shape: _Shape, names: Renaming) -> _Shape:
    """The same with the names here."""
    nodes = tuple((names.here(path), _said(path, said, names)) for path, said in shape.nodes)
    return replace(shape, nodes=nodes, closings=tuple(_asked(one, names) for one in shape.closings))


def _said(path: str, said: str, names: Renaming) -> str:
    """What is said of a node: the ways through it, by name, the nodes on each, and what is asked for."""
    kind, *more = said.split("; ")
    inside = f"{path}[]" if kind in _LOOPS else path
    return "; ".join([kind, *(_asked(_way(path, inside, line, names), names) for line in more)])


def _way(path: str, inside: str, line: str, names: Renaming) -> str:
    found = _A_WAY.fullmatch(line)
    if found is None:
        return line
    new = {one: own_name(names.here(f"{inside}.{one}")) for one in found["nodes"].split(", ")}
    own = {own_name(path): own_name(names.here(path)), **new}
    return f"{own.get(found['name'], found['name'])}{found['asked']}: {', '.join(new.values())}"


def _asked(said: str, names: Renaming) -> str:
    """Of the nodes whose replies are asked for, in the order of the names here."""

    def called(asked: re.Match[str]) -> str:
        needs = _A_PATH.sub(lambda path: names.here(path[0]), asked[1]).split(", ")
        return f"({', '.join(sorted(needs))})"

    return _IN_BRACKETS.sub(called, said)
