"""A node that publishes a fact, and goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from choros.errors import DeclarationError
from choros.messages import Command, Fact
from choros.saga.builders import certain, fact_builder
from choros.saga.checks import check_function, is_a, shown
from choros.saga.machine.instance import States
from choros.saga.machine.turn import Made, Node, Turn
from choros.saga.outline import Declared, Publication
from choros.saga.parameters import NodePlace, members, signature_of
from choros.saga.paths import in_item

FactBuilder = Callable[..., Fact | None]


@dataclass(frozen=True, slots=True)
class Publish(Declared):
    """An event-driven step: a fact that subscribers handle on their own, tracked by nobody.

    Before the pivot it is held until the pivot is carried out, unless `early`; an early fact needs a `retraction`,
    the fact that takes it back when the saga is undone.
    """

    fact: FactBuilder
    early: bool = field(default=False, kw_only=True)
    retraction: FactBuilder | None = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)

    @property
    def commands(self) -> bool:
        """Nobody has to answer a fact."""
        return False

    @property
    def called(self) -> str:
        """As its function is."""
        return self.fact.__name__

    def check(self, saga: str) -> None:
        """Told before anything else of the node: a command in a `Publish` often stands beside its own Step."""
        check_function(saga, self.fact, "a Fact")
        _, returned = signature_of(self.fact, saga)
        for kind in members(returned):
            if is_a(kind, Command):
                raise DeclarationError(
                    f"saga {saga!r}: Publish takes a function that returns a Fact, but {shown(self.fact)} returns"
                    f" {kind.__name__}, a Command.",
                    "publish a Fact, or make it a Step with to='...'.",
                )

    def check_place(self, place: NodePlace) -> None:
        """Anywhere; but what is told early must not stay told of a saga that is undone."""
        if self.early and self.retraction is None:
            raise DeclarationError(
                f"{place.where} is published early, but nothing takes it back when the saga is undone.",
                "add retraction=..., or leave out early=True.",
            )

    def planned(self, place: NodePlace) -> PublishNode:
        """Both functions know the same."""
        undo = fact_builder(self.retraction, place.known) if self.retraction else None
        if undo:
            certain(undo, place.where, "is taken back when the saga is undone", "let it always return a fact.")
        return PublishNode(
            path=place.path, kind="publish", action=fact_builder(self.fact, place.known), undo=undo,
            early=self.early, held=not (self.early or place.passed),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PublishNode(Publication, Node):
    """The node, and the ways through it."""

    def within(self, item: str) -> Self:
        """Its functions are asked for what is known in that item."""
        return replace(self, path=in_item(self.path, item))

    def forward(self, turn: Turn) -> bool:
        """Publish it, or hold it."""
        state = turn.state(self.path)
        if state.parked:
            return False
        if state.progress == "pending":
            made = turn.made(self.action, self.path)
            if made:
                self._publish(turn, made)
            else:
                turn.pass_over(self.path)
        return True

    def _publish(self, turn: Turn, made: Made) -> None:
        choice = self.action.choice(made.kind)
        if self.held:
            turn.change_node(self.path, progress="held", fact=made.body, choice=choice)
            turn.note("fact_held", self.path, code=made.kind.type_name)
        else:
            turn.release(made.kind, made.body, self.path)
            turn.change_node(self.path, progress="published", fact=made.body, choice=choice)
            turn.accept(self.path)

    def backward(self, turn: Turn) -> bool:
        """Take it back."""
        state = turn.state(self.path)
        if state.parked:
            return False
        if self.undo and state.progress == "published":
            made = turn.certainly(self.undo, self.path)
            turn.release(made.kind, made.body, self.path)
            turn.change_node(self.path, progress="retracted")
        return True

    def turned(self, turn: Turn) -> None:
        """What was held did not come true."""
        Node.turned(self, turn)
        state = turn.state(self.path)
        if state.progress == "held":
            # In a composite that is over nobody comes to it again, so nothing is lost by remembering it there.
            turn.change_node(self.path, progress="retracted" if "." in self.path else "pending", fact="", choice="")
            turn.note("fact_dropped", self.path, code=self.fact_of(state.choice).type_name)

    def at_work(self, states: States, backward: bool) -> str | None:
        """Whether it is next."""
        over = states.of(self.path).progress != ("published" if backward and self.undo else "pending")
        return None if over or (backward and not self.undo) else self.path
