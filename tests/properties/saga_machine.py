"""The life of one saga instance: participants with a barrier, a network that does with messages what it likes, people
who want things at any moment, clocks that jump; and any of it folded into one decision.

`choros_verify.exploration` walks through all that is small. This goes far: real times, many rounds and attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from choros.messages import Closed, Done, Failure, NothingToUndo, Reply
from choros.saga.machine import machine
from choros.saga.machine.inputs import (
    Answered,
    CancelRequested,
    Decision,
    Input,
    PauseRequested,
    Release,
    ResumeRequested,
    RetryRequested,
    Send,
    SkipRequested,
    TimerFired,
)
from choros.saga.machine.instance import Instance
from choros.saga.machine.walk import Tree
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey
from choros_verify.exploration.holds import EDGES
from tests.saga.shop import CHARGED, ORDER, RESERVED, SHIPPED

REPLIES = {reply.type_name: reply for reply in (CHARGED, RESERVED, SHIPPED)}
Decide = Callable[[Tree, Instance, Sequence[Input], float], Decision]
acts = st.sampled_from([CancelRequested, PauseRequested, ResumeRequested, ResumeRequested])
operations = st.sampled_from(["do", "undo", "close"])
answers = st.sampled_from(["ok", "ok", "ok", "refused", "failed", "undeclared"])


class SagaMachine(RuleBasedStateMachine):
    """`decide` is what is tested, or a mutant of it."""

    def __init__(self, saga: Saga[Any], decide: Decide = machine.decide) -> None:
        super().__init__()
        self._saga, self._outline, self._decide = saga, saga.outline, decide
        self.now = 1000.0
        self.count = 0
        self.network: list[Send] = []
        self.replies: list[Answered] = []
        """Every reply that was ever given: it may come at any time, any number of times, or never."""
        self.rows: dict[str, str] = {}
        """The participants' ledgers, by effect: done, refused, tombstone, undone, closed."""
        self.facts: list[Release] = []
        self.waiting: list[Input] = []
        """Inputs that are folded into the next decision."""

    @initialize()
    def begin(self) -> None:
        decision = machine.begin(self._saga.tree, "s", ORDER.to_json(), self.now, cause="start")
        self.instance = replace(decision.instance, status="running")
        self._take(decision, decision.instance)

    # --- participants ---

    def _effect(self, key: CommandKey) -> str:
        return f"{key.path}:{key.round}"

    @precondition(lambda self: self.network)
    @rule(pick=st.integers(0, 30), answer=answers)
    def a_command_arrives(self, pick: int, answer: str) -> None:
        send = self.network[-1 - pick % len(self.network)]
        row = self.rows.get(self._effect(send.key), "")
        carry_out = {"do": self._do, "undo": self._undo, "close": self._close}[send.key.operation]
        self.count += 1
        self.replies.append(carry_out(send, row, answer))

    def _do(self, send: Send, row: str, answer: str) -> Answered:
        codes = self._step(send).refusals
        if not row and answer in ("failed", "undeclared"):
            return self._failed(send, "refused" if answer == "undeclared" else "failed")
        if not row:
            row = "refused" if answer == "refused" and codes else "done"
            self.rows[self._effect(send.key)] = row
        if row in ("done", "undone"):
            return self._ok(send, self._reply_to(send))
        return self._refused(send, codes[0] if row == "refused" else "cancelled")

    def _undo(self, send: Send, row: str, answer: str) -> Answered:
        if row == "done" and answer in ("failed", "undeclared"):
            return self._failed(send, "failed")
        self.rows[self._effect(send.key)] = "undone" if row == "done" else row or "tombstone"
        return self._ok(send, Done() if row in ("done", "undone") else NothingToUndo())

    def _close(self, send: Send, row: str, answer: str) -> Answered:
        """A person who closes an undo has undone the effect by hand."""
        if '"undo"' in send.data:
            self.rows[self._effect(send.key)] = "undone" if row == "done" else row or "tombstone"
            return self._ok(send, Closed())
        if row == "done":
            return self._ok(replace(send, key=send.key.of("do")), self._reply_to(send))
        if row == "refused":
            return self._refused(send, self._step(send).refusals[0])
        self.rows[self._effect(send.key)] = row or "closed"
        return self._ok(send, Closed())

    def _step(self, send: Send) -> Any:
        return self._outline.commanded(send.key.path)

    def _reply_to(self, send: Send) -> Reply:
        return REPLIES.get(self._step(send).command_of().reply_type.type_name, Done())

    def _ok(self, send: Send, reply: Reply) -> Answered:
        return Answered(f"r{self.count}", send.key, send.attempt, "ok", reply.to_json())

    def _refused(self, send: Send, code: str) -> Answered:
        key, data = send.key.of("do"), Failure(code=code).to_json()
        return Answered(f"r{self.count}", key, send.attempt, "refused", data, code)

    def _failed(self, send: Send, outcome: Any) -> Answered:
        code = "ConnectionError" if outcome == "failed" else "moon_phase"
        data = Failure(code=code, kind=outcome).to_json()
        return Answered(f"r{self.count}", send.key, send.attempt, outcome, data, code)

    # --- what reaches the saga ---

    @precondition(lambda self: self.replies)
    @rule(pick=st.integers(0, 30), later=st.booleans())
    def a_reply_arrives(self, pick: int, later: bool) -> None:
        self._give(self.replies[-1 - pick % len(self.replies)], later)

    @rule(later=st.booleans(), unsent=st.booleans(), early=st.booleans())
    def time_passes(self, later: bool, unsent: bool, early: bool) -> None:
        wake_at = self.instance.wake_at
        self.now = max(self.now, wake_at) if wake_at is not None and not early else self.now + 1.0
        self._give(TimerFired(self.instance.under_way if unsent else frozenset()), later)

    @rule(what=acts, later=st.booleans())
    def a_person_wants(self, what: Any, later: bool) -> None:
        self.count += 1
        self._give(what(f"act{self.count}"), later)

    @rule(skip=st.booleans(), there=st.booleans(), later=st.booleans())
    def a_person_acts_on_a_step(self, skip: bool, there: bool, later: bool) -> None:
        self.count += 1
        instance = self.instance
        path = self._saga.at_work(instance) if there else self._outline.paths[0]
        if path:
            leaf, round_, act = self._outline.commanded(path), instance.state(path).round, f"act{self.count}"
            reply = REPLIES.get(leaf.command_of().reply_type.type_name, Done()) if leaf else Done()
            given = SkipRequested(act, path, round_, reply.to_json()) if skip else None
            self._give(given or RetryRequested(act, path, round_), later)

    @rule(round_=st.integers(1, 3), operation=operations, path=st.sampled_from(["no", ""]))
    def a_forged_reply_arrives(self, round_: int, operation: Any, path: str) -> None:
        self.count += 1
        key = CommandKey("s" if path else "other", path or self._outline.paths[0], round_, operation)
        before, forged = self.instance, Answered(f"f{self.count}", key, 1, "ok", "{}")
        decision = self._decide(self._saga.tree, before, [forged], self.now)
        assert (decision.instance, decision.sends, decision.strays) == (before, (), (forged.id,))

    def _give(self, given: Input, later: bool) -> None:
        self.waiting.append(given)
        if not later or len(self.waiting) == 3:
            inputs, self.waiting = self.waiting, []
            decision = self._decide(self._saga.tree, self.instance, inputs, self.now)
            if len(inputs) > 1:
                self._check_folded(inputs, decision)
            self._take(decision, self.instance)

    def _check_folded(self, inputs: Sequence[Input], folded: Decision) -> None:
        """Several inputs in one decision come to what they would have come to one by one, in some order."""
        assert any(self._one_by_one(order) == _seen(folded) for order in permutations(inputs)), inputs

    def _one_by_one(self, inputs: Sequence[Input]) -> Any:
        instance, sends, facts = self.instance, (), ()  # type: tuple[Any, Any, Any]
        for given in inputs:
            decision = self._decide(self._saga.tree, instance, [given], self.now)
            instance, sends, facts = decision.instance, sends + decision.sends, facts + decision.facts
        return instance, sends, facts

    # --- what must hold ---

    def _take(self, decision: Decision, before: Instance) -> None:
        after = decision.instance
        assert after.status in EDGES[before.status], f"{before.status} became {after.status}"
        assert Instance.loads(after.dumps()) == after
        assert [fact.seq for fact in decision.facts] == list(range(self._last_seq() + 1, after.seq + 1))
        assert not decision.strays, "a true reply was taken for a stray"
        self.instance = after
        self.facts += decision.facts
        for send in decision.sends:
            self._check_send(send)
            self.network.append(send)

    def _last_seq(self) -> int:
        return self.facts[-1].seq if self.facts else 0

    def _check_send(self, send: Send) -> None:
        """A `do` needs all before it; an undo, that nothing after it stands or can still come to stand."""
        paths = [leaf.path for leaf in self._outline.commands]
        index = paths.index(send.key.path)
        if send.key.operation == "do":
            assert all(self._stands(path) for path in paths[:index]), f"{send.key} came too early"
        if send.key.operation == "undo":
            greatest = [s.not_after for s in self.network if s.key == send.key.of("do") and s.not_after is not None]
            assert send.not_after is not None and send.not_after >= max(greatest)
            assert not any(self._stands(path) for path in paths[index + 1 :]), f"{send.key} came too early"

    def _stands(self, name: str) -> bool:
        """Done, or taken as done by a person."""
        return any(self.rows.get(f"{name}:{number}") in ("done", "closed") for number in range(1, 9))

    @invariant()
    def the_instance_is_sound(self) -> None:
        if not hasattr(self, "instance"):
            return
        instance = self.instance
        legs = [state.leg for state in instance.nodes.values() if state.leg]
        assert len(legs) <= 1, "two commands are awaited at once"
        if instance.terminal:
            assert instance.wake_at is None and not legs
            self._check_end(instance)
        elif instance.status != "parked" and not (instance.paused and not legs):
            assert instance.wake_at is not None, "nothing will ever wake the saga"
        if instance.status == "parked":
            assert instance.why_parked and all(leg.due is None for leg in legs)

    def _check_end(self, instance: Instance) -> None:
        names = [leaf.path for leaf in self._outline.commands]
        if instance.status == "completed":
            assert all(self._stands(name) for name in names), (instance.status, self.rows)
        else:
            assert "done" not in self.rows.values(), (instance.status, self.rows)
        types = [fact.type for fact in self.facts]
        closing = self._outline.completed if instance.status == "completed" else self._outline.compensated
        assert types[len(types) - len(closing) :] == [builder.builds.type_name for builder in closing]
        assert len(types) == len(set(types)), f"a fact twice: {types}"


def _seen(decision: Decision) -> Any:
    return decision.instance, decision.sends, decision.facts
