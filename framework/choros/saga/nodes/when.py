"""A choice: the first branch whose question is answered yes, or the otherwise. Decided once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from choros.errors import DeclarationError
from choros.saga.builders import pure_function
from choros.saga.checks import check_function, listed
from choros.saga.machine.instance import States
from choros.saga.machine.turn import BuildFailed, Node, Turn
from choros.saga.nodes.composed import Composed
from choros.saga.nodes.sequence import SequenceNode, check_unlike, declared_nodes, plan_sequence
from choros.saga.outline import Composite, Declared, Limb
from choros.saga.parameters import Known, NodePlace, PureFunction, shown_type, signature_of
from choros.saga.paths import in_item

Predicate = Callable[..., bool]
OTHERWISE = "otherwise"


@dataclass(frozen=True, slots=True)
class When(Composed):
    """A choice between branches: `When(is_express, then=[...], otherwise=[...])`.

    `predicate` is a pure function of the messages known here. It is asked when the saga comes to the choice, and never
    again. Where `otherwise` is another `When`, its branches are further ones of the same choice, asked in their order.
    Nothing stands in a branch that is not given. What a branch replies with is known behind the choice as `Reply |
    None`.
    """

    predicate: Predicate
    then: Declared | Sequence[Declared]
    otherwise: Declared | Sequence[Declared] = ()
    name: str = field(default="", kw_only=True)
    """The name of the predicate, if not given. It is part of every command key in it, so it must not change."""

    @property
    def called(self) -> str:
        """As its question is."""
        return self.predicate.__name__

    @property
    def nodes(self) -> Iterator[Declared]:
        """All that stand in its branches."""
        for _, branch in self.branches:
            yield from branch

    @property
    def branches(self) -> Sequence[tuple[Predicate | None, Sequence[Any]]]:
        """Each with its question, and at last the one that is taken where none is answered yes."""
        mine = (self.predicate, _several("then", self.then))
        if isinstance(self.otherwise, When):
            return mine, *self.otherwise.branches
        return mine, (None, _several(OTHERWISE, self.otherwise))

    def check(self, saga: str) -> None:
        """Whether there are questions, and nodes behind them."""
        for predicate, branch in self.branches:
            list(declared_nodes(saga, branch))
            if predicate is not None:
                _check_predicate(saga, predicate)
                if not branch:
                    raise DeclarationError(
                        f"saga {saga!r}: When({predicate.__name__}) has nothing to do then.",
                        "give it then=[...], or ask the opposite.",
                    )

    def check_place(self, place: NodePlace) -> None:
        """Behind it the saga has passed its pivot on every way, or on none."""
        if self.pivot and not all(any(node.pivot for node in branch) for _, branch in self.branches):
            raise DeclarationError(
                f"{place.where} has a pivot in some of its branches only, so behind it nobody knows whether the saga"
                " may be undone.",
                "give each branch one, also the otherwise, or put the pivot before or behind the choice.",
            )

    def planned(self, place: NodePlace) -> ChoiceNode:
        """Its branches know what is known here."""
        plans, asked = [], []
        for predicate, branch in self.branches:
            if predicate is not None:
                asked.append(pure_function(predicate, place.known, bool))
            plans.append(plan_sequence(place, branch) if branch else None)
        names = [*(one.function.__name__ for one in asked), OTHERWISE]
        check_unlike(place.saga, names)
        limbs = tuple(Limb(name, plan.parts if plan else ()) for name, plan in zip(names, plans, strict=True))
        check_unlike(place.saga, [part.path for limb in limbs for part in limb.parts])
        branches = {name: plan.node for name, plan in zip(names, plans, strict=True) if plan}
        return ChoiceNode(
            path=place.path, kind="when", limbs=limbs, alternatives=True, questions=tuple(asked), branches=branches
        )


def _several(name: str, branch: object) -> Sequence[Any]:
    return (branch,) if isinstance(branch, Declared) else listed(f"When: {name}", branch)


def _check_predicate(saga: str, predicate: Predicate) -> None:
    check_function(saga, predicate, "a bool")
    _, returned = signature_of(predicate, saga)
    if returned is not bool:
        raise DeclarationError(
            f"saga {saga!r}: When takes a function that returns a bool, but {predicate.__name__} returns"
            f" {shown_type(returned)}.",
            "annotate it: -> bool.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceNode(Composite, Node):
    """The node, and the ways through it."""

    branches: dict[str, SequenceNode] = field(hash=False)
    """By name; an empty one has none."""

    def after(self, known: Known) -> Known:
        """Of its replies none is sure: another branch may have been taken."""
        return self.perhaps(known)

    def within(self, item: str) -> Self:
        """All branches in it."""
        branches = {name: branch.within(item) for name, branch in self.branches.items()}
        return replace(self, path=in_item(self.path, item), branches=branches)

    def forward(self, turn: Turn) -> bool:
        """Choose, and go the way that was chosen."""
        state = turn.state(self.path)
        if state.parked:
            return False
        if state.progress == "ok":
            return True
        chosen = state.choice or self._choose(turn)
        branch = self.branches.get(chosen)
        if branch and not branch.forward(turn):
            return False
        turn.change_node(self.path, progress="ok")
        return True

    def _choose(self, turn: Turn) -> str:
        first = next((one for one in self.questions if self._says_yes(turn, one)), None)
        chosen = first.function.__name__ if first else OTHERWISE
        turn.change_node(self.path, progress="entered", choice=chosen)
        turn.note("chosen", self.path, code=chosen)
        if chosen in self.branches:
            self.branches[chosen].enter(turn)
        return chosen

    def _says_yes(self, turn: Turn, asked: PureFunction) -> bool:
        answer = turn.ask(asked, self.path)
        if not isinstance(answer, bool):
            name = asked.function.__name__
            raise BuildFailed(f"{name} returned {type(answer).__name__}, not bool", self.path)
        return answer

    def backward(self, turn: Turn) -> bool:
        """The way back through what was chosen."""
        branch = self.branches.get(turn.state(self.path).choice)
        return branch is None or branch.backward(turn)

    def at_work(self, states: States, backward: bool) -> str | None:
        """What is next in what was chosen; itself before that."""
        own = states.of(self.path)
        branch = self.branches.get(own.choice)
        if backward:
            return branch.at_work(states, backward) if branch else None
        if own.progress == "ok":
            return None
        return (branch and branch.at_work(states, backward)) or self.path
