"""A node that waits for somebody outside the saga to tell it something: a person, a program, another service."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self, get_args

from choros.errors import DeclarationError
from choros.messages import Fact, Failure, Signal
from choros.names import BusinessKey
from choros.saga.builders import fact_builder, pure_function
from choros.saga.checks import check_function, is_a, listed, shown
from choros.saga.machine.instance import DECLINED, States
from choros.saga.machine.turn import BuildFailed, Node, Turn, TurnedBack
from choros.saga.nodes.publish import FactBuilder
from choros.saga.outline import Declared
from choros.saga.parameters import Builder, NodePlace, PureFunction
from choros.saga.paths import in_item
from choros.saga.policy import LONGEST, check_duration
from choros.saga.waiting import Lapse, SignalWait

LAPSED = "lapsed"
"""The code that a saga is undone with that nobody told in time; `DECLINED` of one that was told no."""
ACCEPTED = "accepted"
LONGEST_KEY = 200
KEPT_FOR = timedelta(days=7)
LOOK_AGAIN = 30.0
"""Seconds after which a reminder is tried again that a pause holds back."""


@dataclass(frozen=True, slots=True)
class Reminder:
    """A fact that is published once a wait has lasted so long; `timedelta(0)` is as soon as it begins."""

    after: timedelta
    fact: FactBuilder
    """Builds it of the messages known there; None where nobody is to be reminded."""


@dataclass(frozen=True, slots=True)
class Wait(Declared):
    """A wait for a signal: `Wait(LoanDecision, within=timedelta(days=3))`. Or for a fact, whoever publishes it:
    `Wait(OrderPaid, key=order_paid_for, of=lambda fact: fact.order_id, within=timedelta(days=3))`.

    What it is told is known behind it like a reply. One that comes before the saga has come to the wait is kept for it.
    The first counts. `within` is a timedelta, or a function that gives one, of the messages known here; a hundred years
    are for ever. Where nobody has told it by then the saga is undone (`otherwise="compensate"`), goes on without
    ("go_on": then functions behind it ask for `LoanDecision | None`) or waits for a person to tell it, or to have it
    wait anew ("park"). A pause stops neither the wait nor what ends it; only reminders are held back.
    """

    signal: type[Signal] | type[Fact]
    within: timedelta | Callable[..., timedelta] = field(kw_only=True)
    key: Callable[..., str] | None = field(default=None, kw_only=True)
    """Of a fact, what it has to be about: a pure function of the messages known here."""
    of: Callable[[Any], BusinessKey] | None = field(default=None, kw_only=True)
    """What a fact is about: a pure function of it, the same wherever facts of its type are waited for. Without one it
    is the flow that it is part of: its correlation id."""
    keep: timedelta = field(default=KEPT_FOR, kw_only=True)
    """How long such a fact is kept for sagas that come to wait for it. It answers each of them, so in a `Repeat` every
    time that waits for the same key."""
    accept: Callable[..., bool] | None = field(default=None, kw_only=True)
    """Whether what it was told is a yes: a pure function of that and of what is known. A no has the saga undone."""
    otherwise: Lapse = field(default="compensate", kw_only=True)
    reminders: Sequence[Reminder] = field(default=(), kw_only=True)
    """A ladder, the first first."""
    by: str = field(default="", kw_only=True)
    """Whose it is to say: a role, or a person. Then whoever tells it says who he is, and why."""
    carry: bool = field(default=False, kw_only=True)
    """In a `Repeat`: whether what comes too early, or once more, is kept for the times to come."""
    name: str = field(default="", kw_only=True)
    """That of the signal in snake_case, if not given. Whoever signals names it, so it must not change."""

    @property
    def commands(self) -> bool:
        """It commands nobody."""
        return False

    @property
    def called(self) -> str:
        """As its signal is."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", getattr(self.signal, "__name__", "wait")).lower()

    def check(self, saga: str) -> None:
        """What it waits for, and for how long."""
        where = f"saga {saga!r}: {self.name or self.called}"
        if not is_a(self.signal, Signal) and not is_a(self.signal, Fact):
            raise DeclarationError(
                f"{where} waits for {shown(self.signal)}, which is no Signal and no Fact.",
                "derive it from choros.Signal.",
            )
        self._check_fact(where, saga)
        if not callable(self.within):
            check_duration(where, "within", self.within, least=timedelta(microseconds=1))
        if self.accept is not None:
            check_function(saga, self.accept, "a bool")
        if self.otherwise not in get_args(Lapse):
            raise DeclarationError(
                f"{where}: otherwise={self.otherwise!r} means nothing.", "write 'compensate', 'go_on' or 'park'."
            )
        if not str(self.by).isprintable():
            raise DeclarationError(f"{where}: by={shown(self.by)} is no role.", "write by='credit-officer'.")
        _check_ladder(where, saga, listed(f"{where}: reminders", self.reminders), self.within)

    def _check_fact(self, where: str, saga: str) -> None:
        """What goes with a fact alone, and what not."""
        if not is_a(self.signal, Fact):
            if self.key is not None or self.of is not None or self.keep != KEPT_FOR:
                raise DeclarationError(
                    f"{where} waits for a signal, which is sent to one saga.", "leave key, of and keep out."
                )
            return
        if self.key is None:
            raise DeclarationError(
                f"{where} waits for a fact, and does not say which.", "write key=: a function of what is known here."
            )
        check_function(saga, self.key, "a str")
        if self.of is not None and not callable(self.of):
            raise DeclarationError(f"{where}: of={shown(self.of)} is no function.", "write of=lambda fact: fact.id.")
        check_duration(where, "keep", self.keep, least=timedelta(seconds=1))
        if self.by or self.carry:
            raise DeclarationError(
                f"{where} waits for a fact, which nobody signs, and which is kept for all.", "leave by and carry out."
            )

    def check_place(self, place: NodePlace) -> None:
        """Behind the pivot a saga cannot be undone for want of a signal; and only a time of a loop has a next one."""
        if place.passed and self.otherwise == "compensate":
            raise DeclarationError(
                f"{place.where} would have the saga undone where nobody tells it in time, but stands after the pivot.",
                "write otherwise='go_on' or otherwise='park'.",
            )
        if place.passed and self.accept is not None:
            raise DeclarationError(
                f"{place.where} would have the saga undone where it is told no, but stands after the pivot.",
                "go one way or another behind it: When(...).",
            )
        if self.carry and "[]" not in place.path:
            raise DeclarationError(
                f"{place.where} carries signals to a next time, but stands in no loop.", "leave carry out."
            )

    def planned(self, place: NodePlace) -> WaitNode:
        """Its functions may ask for what every other may ask for there."""
        within = self.within
        node = WaitNode(
            path=place.path, kind="wait", changes=False, signal=self.signal, lapse=self.otherwise, by=self.by,
            insists=self.otherwise != "go_on",
            limit=pure_function(within, place.known, timedelta) if callable(within) else within,
            reminders=tuple((one.after, fact_builder(one.fact, place.known)) for one in self.reminders),
            carry=self.carry, of=self.of, keep=self.keep if self.key else timedelta(0),
            about=pure_function(self.key, place.known, str) if self.key else None,
        )  # fmt: skip
        if self.accept is None:
            return node
        told = replace(place.known, replies=(*place.known.replies, (node.path, node.signal)))
        return replace(node, accept=pure_function(self.accept, told, bool))


def _check_ladder(where: str, saga: str, ladder: Sequence[Any], within: object) -> None:
    before = timedelta(0)
    for one in ladder:
        if not isinstance(one, Reminder):
            raise DeclarationError(
                f"{where}: {shown(one)} is no Reminder.", "write Reminder(timedelta(days=1), remind)."
            )
        check_duration(where, "after", one.after, least=timedelta(0))
        check_function(saga, one.fact, "a Fact")
        if one.after < before:
            raise DeclarationError(f"{where}: its reminders do not follow one another.", "put the first first.")
        if isinstance(within, timedelta) and one.after >= within:
            raise DeclarationError(
                f"{where} reminds after {one.after}, when nobody waits any more.", f"remind before {within}."
            )
        before = one.after


@dataclass(frozen=True, slots=True)
class WaitNode(SignalWait, Node):
    """The node, and the ways through it."""

    def within(self, item: str) -> Self:
        """Its functions are asked for what is known in that item."""
        return replace(self, path=in_item(self.path, item))

    def forward(self, turn: Turn) -> bool:
        """Wait, remind, and know when it is too late."""
        if turn.state(self.path).parked:
            return False
        if turn.state(self.path).progress == "pending":
            self._begin(turn)
        if turn.state(self.path).progress == "awaiting":
            self._look(turn)
        told = turn.state(self.path)
        if told.progress == "ok" and self.accept and not told.choice:
            self._judge(turn, self.accept)
        return turn.state(self.path).progress in ("ok", "lapsed")

    def _judge(self, turn: Turn, accept: PureFunction) -> None:
        """Once: a yes is kept, and a no turns the saga back."""
        answer = turn.ask(accept, self.path)
        if not isinstance(answer, bool):
            raise BuildFailed(f"{accept.function.__name__} returned {type(answer).__name__}, not bool", self.path)
        turn.change_node(self.path, choice=ACCEPTED if answer else DECLINED)
        if not answer:
            name = accept.function.__name__
            raise TurnedBack(Failure(code=DECLINED, detail=f"{name} says no to what it was told", step=self.path))

    def _begin(self, turn: Turn) -> None:
        """What was said before is taken at once; else the end of the wait is decided here, and kept."""
        early = dict(turn.instance.early)
        if body := early.pop(self.path, ""):
            turn.change(early=tuple(early.items()))
            turn.change_node(self.path, progress="ok", reply=body)
            turn.note("signalled", self.path)
            return
        seconds, key = self._seconds(turn), self._key(turn)
        end = turn.now + seconds
        turn.change_node(
            self.path, progress="awaiting", began=turn.now, not_after=end, until=turn.now if key else None, begun=0,
            awaits=key,
        )  # fmt: skip
        turn.note("awaiting", self.path, seconds=seconds, code=key)

    def _key(self, turn: Turn) -> str:
        """What the fact has to be about; empty for a signal. Raises BuildFailed."""
        if self.about is None:
            return ""
        key = turn.ask(self.about, self.path)
        if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY or not key.isprintable():
            name = self.about.function.__name__
            raise BuildFailed(f"{name} returned no key of 1 to {LONGEST_KEY} printable characters", self.path)
        return key

    def _seconds(self, turn: Turn) -> float:
        """How long it lasts; raises BuildFailed."""
        limit = turn.ask(self.limit, self.path) if isinstance(self.limit, PureFunction) else self.limit
        if not isinstance(limit, timedelta) or not timedelta(0) <= limit <= LONGEST:
            raise BuildFailed(f"{self.path} cannot wait: {shown(limit)} is not a time to wait", self.path)
        return limit.total_seconds()

    def _look(self, turn: Turn) -> None:
        """What its moment asks for; and when it has to be looked at next."""
        state = turn.state(self.path)
        if state.unlooked:
            return
        began, end = state.began or 0.0, state.not_after or 0.0  # both are there while it waits
        if end <= turn.now:
            self._lapse(turn)
            return
        rungs = [began + after.total_seconds() for after, _ in self.reminders]
        while state.begun < len(rungs) and rungs[state.begun] <= turn.now:
            self._remind(turn, self.reminders[state.begun][1])
            state = turn.state(self.path)
        turn.change_node(self.path, until=min([end, *rungs[state.begun :]]))

    def _remind(self, turn: Turn, builder: Builder) -> None:
        """Its number goes up before anybody is reminded: each of them once."""
        made = turn.made(builder, self.path)
        turn.change_node(self.path, begun=turn.state(self.path).begun + 1)
        if made:
            turn.note("reminded", self.path)
            turn.release(made.kind, made.body, self.path)

    def _lapse(self, turn: Turn) -> None:
        turn.change_node(self.path, progress="lapsed", until=None, not_after=None)
        turn.note("lapsed", self.path)
        detail = f"nobody gave {self.signal.__name__} in time"
        if self.lapse == "compensate":
            raise TurnedBack(Failure(code=LAPSED, detail=detail, step=self.path))
        if self.lapse == "park":
            raise BuildFailed(f"{self.path}: {detail}", self.path)

    def ring(self, turn: Turn) -> bool:
        """While the saga is paused nobody is reminded. Whoever rings has looked whether the fact that it waits for is
        kept already."""
        state = turn.state(self.path)
        if state.until is None or state.until > turn.now:
            return False
        if state.unlooked:
            turn.change_node(self.path, until=state.not_after)
            return True
        if turn.instance.paused:
            later, end = turn.now + LOOK_AGAIN, state.not_after or 0.0
            turn.change_node(self.path, until=min(later, end) if end > turn.now else later)
        return True

    def backward(self, turn: Turn) -> bool:
        """There is nothing to undo."""
        return True

    def turned(self, turn: Turn) -> None:
        """Nobody waits for it any more."""
        Node.turned(self, turn)
        if turn.state(self.path).progress == "awaiting":
            turn.change_node(self.path, progress="pending", until=None, not_after=None, began=None, begun=0, awaits="")

    def at_work(self, states: States, backward: bool) -> str | None:
        """Whether it is next."""
        return None if backward or states.of(self.path).progress in ("ok", "lapsed") else self.path
