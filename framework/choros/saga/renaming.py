"""Nodes that are called otherwise here, in the declaration that an instance follows, than there, where it was begun.
What it has come to is stored under the names here; what others know it by, a command's key above all, keeps those
there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from choros.messages import Failure
from choros.saga.machine.instance import Instance, NodeState, States
from choros.saga.outline import Composite, Outline
from choros.saga.paths import declared
from choros.values import replace

Pairs = Sequence[tuple[str, str]]
"""(path there, path here) of nodes, as their declarations have them. They stand where they stood."""
_INDEXES = re.compile(r"\[[^]]*\]")


@dataclass(frozen=True, slots=True)
class Renaming:
    """From the names there to those here, and back."""

    pairs: Pairs = ()
    _here: Mapping[str, str] = field(init=False, compare=False)
    _there: Mapping[str, str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_here", {there: own_name(here) for there, here in self.pairs})
        object.__setattr__(self, "_there", {here: own_name(there) for there, here in self.pairs})

    def here(self, path: str) -> str:
        """The path here of what has this path there; in an item it is in the same one."""
        return _renamed(path, self._here)

    def there(self, path: str) -> str:
        """The path there of what has this path here."""
        return _renamed(path, self._there)

    def followed_by(self, other: "Renaming") -> "Renaming":
        """Both, one after the other."""
        first = [(there, other.here(here)) for there, here in self.pairs]
        seen = {here for _, here in self.pairs}
        more = [(self.there(there), here) for there, here in other.pairs if there not in seen]
        return Renaming(tuple((there, here) for there, here in (*first, *more) if own_name(there) != own_name(here)))


SAME = Renaming()
"""Nothing is called otherwise."""


def renaming(instance: Instance) -> Renaming:
    """That of this instance."""
    return Renaming(instance.renamed) if instance.renamed else SAME


def with_names(instance: Instance, names: Renaming, outline: Outline) -> Instance:
    """The instance as this declaration knows it, which calls its nodes so. None of its states may lie apart."""
    nodes = {names.here(path): _chosen(path, state, names, outline) for path, state in instance.nodes.items()}
    return replace(
        instance,
        nodes=States(nodes),
        early=tuple((names.here(path), body) for path, body in instance.early),
        failure=instance.failure and _failed(instance.failure, names),
        rerun_from=names.here(instance.rerun_from),
        renamed=tuple(renaming(instance).followed_by(names).pairs),
    )


def _failed(failure: str, names: Renaming) -> str:
    told = Failure.from_json(failure)
    return told.model_copy(update={"step": names.here(told.step)}).to_json()


def _chosen(path: str, state: NodeState, names: Renaming, outline: Outline) -> NodeState:
    """The way through a choice that is called after its first question is called so, too."""
    here = names.here(path)
    choice = outline.nodes.get(declared(here))
    ways = {limb.name for limb in choice.limbs} if isinstance(choice, Composite) else set()
    if state.choice in ways or state.choice != own_name(path) or own_name(here) not in ways:
        return state
    return replace(state, choice=own_name(here))


def own_name(path: str) -> str:
    """The name of the node of this path, without where it stands."""
    return path.rpartition(".")[2].partition("[")[0]


def _renamed(path: str, names: Mapping[str, str]) -> str:
    """Name by name: what a node is called depends on where it stands, and it goes on standing there."""
    if not names or not path:
        return path
    found, above = [], ""
    for part in path.split("."):
        own, bracket, index = part.partition("[")
        whole = f"{above}.{own}" if above else own
        found.append(names.get(whole, own) + bracket + index)
        above = whole + _INDEXES.sub("[]", bracket + index)
    return ".".join(found)
