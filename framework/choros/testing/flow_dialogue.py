"""`FlowTest`: a test of a choreography that reads as a dialogue: who hears what, and says what. Nothing runs.

test = FlowTest(order_flow)
test.start(OrderPlaced(order_id="7"))
test.expect("payment", OrderPlaced).says(PaymentCharged(order_id="7"))
test.expect("inventory", PaymentCharged).says(OutOfStock(order_id="7"))
test.expect("payment", OutOfStock).says(PaymentRefunded(order_id="7"))
test.expect("orders", PaymentRefunded).says(OrderFailed(order_id="7"))
test.expect_nothing()
assert not test.standing
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NoReturn

from choros.app.choreography import Choreography
from choros.app.flow_courses import may_decide
from choros.app.flow_outline import FlowReaction
from choros.messages import Fact

EffectFate = Literal["there", "refused", "given up", "withdrawn"]


class FlowTest:
    """One run of a flow, with the services played by the test, in whatever order it likes: what it has nobody hear yet
    is late. Every failure is an AssertionError in words."""

    def __init__(self, flow: Choreography[Any]) -> None:
        self.flow = flow
        self._told: list[Fact] = []
        self._handled: set[tuple[int, int]] = set()
        """Which reaction has had which fact."""
        self._effects: dict[int, EffectFate] = {}
        self._history: list[str] = []

    @property
    def told(self) -> Sequence[Fact]:
        """All that was said, its start first."""
        return tuple(self._told)

    @property
    def end(self) -> Fact | None:
        """The fact that it has ended with; None while it has not."""
        return next((fact for fact in self._told if type(fact) in self.flow.ends), None)

    @property
    def standing(self) -> Sequence[str]:
        """The effects that are there, by service and reaction."""
        effects = self.flow.outline.effects
        named = ((self.flow.reactions[number], how) for number, how in self._effects.items())
        return sorted(one.said for one, how in named if how == "there" and one in effects)

    def start(self, fact: Fact) -> None:
        """Somebody says what begins it."""
        if self._told or type(fact) is not self.flow.start:
            self._fail(f"It begins once, with {self.flow.start.__name__}, and not with {fact!r}")
        self._tell("somebody", fact)

    def retract(self, fact: Fact) -> None:
        """Its start is taken back."""
        if type(fact) is not self.flow.retraction:
            known = self.flow.retraction.__name__ if self.flow.retraction else "nothing"
            self._fail(f"{known} takes it back, and not {fact!r}")
        self._tell("somebody", fact)

    def expect(self, service: str, *facts: type[Fact] | Fact) -> HeardFact:
        """The service hears this fact now, or has heard all of these, where its reaction waits for several."""
        found = next((heard for heard in self._heard_by(service) if _fit(heard.facts, facts)), None)
        if found is None:
            wanted = " and ".join(_named(fact) for fact in facts)
            open_ = "; ".join(self._open()) or "nobody hears anything any more"
            self._fail(f"Expected {service} to hear {wanted}, but {open_}")
        return found

    def expect_nothing(self) -> None:
        """Nobody has anything to do any more."""
        if left := list(self._open()):
            self._fail(f"Expected nothing, but {'; '.join(left)}")

    def _unheard(self, number: int, reaction: FlowReaction) -> list[tuple[int, Fact]]:
        """The facts that it would be called for now."""
        had = [(at, fact) for at, fact in enumerate(self._told) if type(fact) in reaction.hears]
        new = [(at, fact) for at, fact in had if (number, at) not in self._handled]
        first = {type(fact): (at, fact) for at, fact in reversed(new)}
        return sorted(first.values(), key=lambda one: one[0])

    def _open(self) -> Iterator[str]:
        for heard in self._heard_by():
            yield f"{heard.reaction.said} has {' and '.join(map(_named, heard.facts))} to hear"

    def _heard_by(self, service: str = "") -> Iterator[HeardFact]:
        """What would be called now, of this service or of all."""
        for number, reaction in enumerate(self.flow.reactions):
            heard = self._unheard(number, reaction)
            if service in ("", reaction.service) and len(heard) == len(reaction.hears):
                yield HeardFact(self, number, [fact for _, fact in heard])

    def _take(self, number: int) -> None:
        self._handled |= {(number, at) for at, _ in self._unheard(number, self.flow.reactions[number])}

    def _tell(self, who: str, fact: Fact) -> None:
        """What has another key than the start, as far as the declaration's function can say, is of another flow."""
        begun, key = self._key(self._told[0] if self._told else fact), self._key(fact)
        if key not in (None, begun):
            self._fail(f"{who} says {_named(fact)}, whose key is {key!r}, in the flow of {begun!r}")
        self._history.append(f"{who} says {_named(fact)}")
        self._told.append(fact)

    def _key(self, fact: Fact) -> object:
        """What it is about; None where the function does not know this type."""
        try:
            return self.flow.key(fact)
        except Exception:
            return None

    def _fail(self, sentence: str) -> NoReturn:
        history = "\n".join(f"  {line}" for line in self._history) or "  nothing"
        raise AssertionError(f"{sentence}.\nWhat happened in choreography {self.flow.name!r}:\n{history}")


class HeardFact:
    """A fact that came to a service, which the test plays: what does it say?"""

    def __init__(self, test: FlowTest, number: int, facts: Sequence[Fact]) -> None:
        self._test, self._number = test, number
        self.facts = facts
        """What it hears, in the order in which that was said."""
        self.reaction: FlowReaction = test.flow.reactions[number]

    def says(self, fact: Fact | None = None) -> None:
        """It has done its part, and says this, or nothing; where the fact is a no, it has done nothing. An undo says it
        whether or not there was something to undo."""
        kind, outline = None if fact is None else type(fact), self._test.flow.outline
        if why := self._kept_from():
            self._test._fail(f"{self.reaction.said} says nothing: {why}")
        if kind not in (*outline.yeses(self.reaction), *outline.noes(self.reaction)):
            known = ", ".join(one.__name__ if one else "nothing" for one in outline.yeses(self.reaction))
            self._test._fail(f"{self.reaction.said} may say {known or 'no'}, and not {_named(fact)}")
        if kind in outline.decisive and not self._may_decide(kind):
            self._test._fail(f"{self.reaction.said} comes too late with {_named(fact)}: the flow has been decided")
        self._done("refused" if kind in outline.noes(self.reaction) else "there")
        if fact is not None:
            self._test._tell(self.reaction.said, fact)

    def gives_up(self, fact: Fact) -> None:
        """It was tried for the last time, and says this in place of its effect."""
        if type(fact) is not self.reaction.gives_up:
            known = self.reaction.gives_up
            what = f"gives up with {known.__name__}" if known else "waits for a person when it cannot go on"
            self._test._fail(f"{self.reaction.said} {what}")
        self._done("given up")
        self._test._tell(self.reaction.said, fact)

    def is_withdrawn(self) -> None:
        """It is not called: what it would do was undone before, or is undone already."""
        if not self._kept_from():
            self._test._fail(f"{self.reaction.said} is called: nothing has undone it")
        self._test._history.append(f"{self.reaction.said} is not called any more")
        self._test._take(self._number)

    def is_too_late(self) -> None:
        """The flow has been decided before, so it says nothing."""
        kinds = [kind for kind in self.reaction.publishes if kind in self._test.flow.outline.decisive]
        if not kinds or any(self._may_decide(kind) for kind in kinds):
            self._test._fail(f"{self.reaction.said} does not come too late")
        self._test._history.append(f"{self.reaction.said} comes too late")
        self._test._take(self._number)

    def _may_decide(self, kind: type[Fact] | None) -> bool:
        told = frozenset(type(fact) for fact in self._test.told)
        return may_decide(self._test.flow.outline, kind, told)

    def _kept_from(self) -> str:
        if self.reaction.undoes is None:
            return "it was undone before" if self._test._effects.get(self._number) == "withdrawn" else ""
        undone = self._undone()
        gone = [self._test._effects.get(number) == "withdrawn" for number in undone]
        return "that is undone already" if gone and all(gone) else ""

    def _undone(self) -> Sequence[int]:
        """The effects that it takes back."""
        outline = self._test.flow.outline
        return [at for at, one in enumerate(outline.reactions) if self.reaction in outline.undoers(one)]

    def _done(self, how: EffectFate) -> None:
        self._test._take(self._number)
        if self.reaction.undoes is None:
            self._test._effects[self._number] = how
            return
        for number in self._undone():
            was = self._test._effects.get(number)
            found = "undoes" if was == "there" else "finds nothing of"
            self._test._history.append(f"{self.reaction.said} {found} {self._test.flow.reactions[number].said}")
            self._test._effects[number] = "withdrawn"


def _fit(heard: Sequence[Fact], wanted: Sequence[type[Fact] | Fact]) -> bool:
    """Whether each that is wanted is among them, and nothing else is."""
    left = [*heard]
    for one in wanted:
        found = next((fact for fact in left if (type(fact) is one if isinstance(one, type) else fact == one)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def _named(fact: type[Fact] | Fact | None) -> str:
    return fact.__name__ if isinstance(fact, type) else repr(fact) if fact is not None else "nothing"
