"""The life of a participant's database behind the real barrier: commands in any order, any number of times, crashes.

What must hold: an effect happened at most once, and not at all once it was undone, refused or closed; an answer that
was given is given again, word for word; and what is forgotten in time is refused ever after.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from choros.app.handler import Call
from choros.app.service import Service
from choros.errors import Refused
from choros.messages import Closed
from choros.runtime.host.admission import understood
from choros.runtime.host.slots import Calls
from choros.runtime.participant.answers import Answer, ForgottenEffect
from choros.runtime.participant.execution import Execution
from choros.store.barrier import Database, Job, Transaction
from choros.wire.envelope import Envelope
from tests.properties.machines import AsyncMachine, cut_off
from tests.runtime.participant_stage import (
    NOW,
    Charge,
    Charged,
    Refund,
    Refunded,
    close,
    command,
    effect,
    misbehave,
)
from tests.store.conftest import came_to

Opening = Callable[[], Awaitable[Database]]
Looking = Callable[[Database, str], Awaitable[int]]
"""What the handlers have done to this order."""

NO_ANSWER = (Refused, ValueError, ForgottenEffect)
"""What a handler may raise, and what its participant has forgotten."""
SKEW, ATTEMPTS_FOR = 60.0, 900.0
IDS = ["s0", "s1"]
ids = st.sampled_from(IDS)
moods = st.sampled_from(["ok", "ok", "declined", "surprised", "broken"])
"""How handlers fare: a card that is declined today is taken tomorrow."""
handles = st.integers(0, 1)


class Crash(Exception):
    """Of a handler's process, after its work and before its commit."""


@dataclass
class Effect:
    """What an orchestrator and an auditor know of one effect."""

    not_after: float = 0.0
    """The greatest deadline ever sent."""
    began: float = 0.0
    """When the first command about it was sent."""
    ended: float | None = None
    """When an undo, a close or an answer made it senseless to send the `do` once more."""
    undo_sent: bool = False
    answers: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """By operation: outcome, type, body."""
    closed: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """The same, of closes, by what they close."""


class BarrierMachine(AsyncMachine):
    """`opening` gives one more open database on the same tables, which are empty at first."""

    def __init__(self, opening: Opening, looking: Looking, prefix: str = "") -> None:
        super().__init__()
        self._opening, self._looking, self._prefix = opening, looking, prefix
        self.now = NOW
        self.off = [0.0, 0.0]
        """How far the clock of each process is ahead of the orchestrator's."""
        self.network: list[Envelope] = []
        """Every command that was ever sent: it may arrive at any time, any number of times, or never."""
        self.effects = {saga: Effect() for saga in IDS}
        self.mood = "ok"
        self.service = self._make_service()
        self.executions = [self._make_execution(0), self._make_execution(1)]

    def _make_execution(self, handle: int) -> Execution:
        def clock() -> float:
            return self.now + self.off[handle]

        return Execution("/shop/payment", clock=clock, clock_skew=SKEW, calls=Calls())

    def _make_service(self) -> Service:
        service = Service("payment")

        @service.handles(Charge)
        async def charge(command: Charge, db: Transaction, call: Call) -> Charged:
            await effect(db, command.order, 1)
            await misbehave(self.mood)
            return Charged(payment=call.key)

        @service.handles(Refund)
        async def refund(command: Refund, db: Transaction, call: Call) -> Refunded:
            await effect(db, command.order, -1)
            await misbehave(self.mood)
            return Refunded(payment=call.key)

        return service

    @initialize()
    def open_both(self) -> None:
        self.databases = [self.run(self._opens()), self.run(self._opens())]

    async def _opens(self) -> Database:
        return await self._opening()

    async def ended(self) -> None:
        for database in getattr(self, "databases", ()):
            await database.close()

    # --- the orchestrator ---

    def _order(self, saga: str) -> str:
        return f"{self._prefix}{saga}"

    @rule(saga=ids, valid_for=st.sampled_from([100.0, ATTEMPTS_FOR]))
    def send_do(self, saga: str, valid_for: float) -> None:
        known, until = self.effects[saga], self.now + valid_for
        if known.ended is None or (not known.undo_sent and self.now < known.ended + ATTEMPTS_FOR):
            known.not_after = max(known.not_after, until)
            charge, began = Charge(order=self._order(saga)), self._began(saga)
            self.network.append(command(charge, saga=saga, not_after=until, began=began))

    @rule(saga=ids)
    def send_undo(self, saga: str) -> None:
        known = self.effects[saga]
        known.undo_sent, known.ended = True, known.ended or self.now
        until = known.not_after or None
        refund, began = Refund(order=self._order(saga)), self._began(saga)
        self.network.append(command(refund, "undo", saga=saga, not_after=until, began=began))

    @rule(saga=ids)
    def send_close(self, saga: str) -> None:
        """A person's act, on whichever command is in flight."""
        known = self.effects[saga]
        of = "undo" if known.undo_sent else "do"
        known.ended = self.now - ATTEMPTS_FOR  # what it closes is not sent again after it
        self.network.append(close(of, saga=saga, not_after=known.not_after or None, began=self._began(saga)))

    def _began(self, saga: str) -> float:
        known = self.effects[saga]
        known.began = known.began or self.now
        return known.began

    # --- the participant ---

    @rule(mood=moods)
    def change_the_mood(self, mood: str) -> None:
        self.mood = mood

    @precondition(lambda self: self.network)
    @rule(handle=handles, picks=st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=4))
    def deliver(self, handle: int, picks: list[tuple[int, bool]]) -> None:
        """Some commands in one run; a process that crashes before its commit leaves nothing."""
        commands = [(self.network[-1 - pick % len(self.network)], crash) for pick, crash in picks]
        results = self.run(self._delivered(handle, [self._job(handle, one, crash) for one, crash in commands]))
        for (one, crash), result in zip(commands, results, strict=True):
            if isinstance(result, Answer) and not crash:
                self._check_answer(one, result.reply)
            else:
                assert isinstance(result, Crash if crash else NO_ANSWER), result

    async def _delivered(self, handle: int, jobs: list[Job[Any]]) -> list[Any]:
        return [came_to(result) for result in await self.databases[handle].run(jobs)]

    def _job(self, handle: int, envelope: Envelope, crash: bool = False) -> Job[Any]:
        job = self.executions[handle].job(understood(envelope, self.service))

        async def crashing(transaction: Transaction) -> None:
            with contextlib.suppress(*NO_ANSWER):
                await job(transaction)
            raise Crash

        return crashing if crash else job

    @precondition(lambda self: self.network)
    @rule(handle=handles, pick=st.integers(0, 50), after=st.integers(0, 8))
    def crash_in_the_middle(self, handle: int, pick: int, after: int) -> None:
        """Nobody knows whether it was done; it comes again, to another process."""
        one = self.network[-1 - pick % len(self.network)]
        self.run(self._crashes(handle, one, after))
        (result,) = self.run(self._delivered(1 - handle, [self._job(1 - handle, one)]))
        if isinstance(result, Answer):
            self._check_answer(one, result.reply)
        else:
            assert isinstance(result, NO_ANSWER), result

    async def _crashes(self, handle: int, envelope: Envelope, after: int) -> None:
        await cut_off(self.databases[handle].run([self._job(handle, envelope)]), after)
        await self.databases[handle].close()
        self.databases[handle] = await self._opening()

    @rule(handle=handles, off=st.sampled_from([-SKEW / 2, 0.0, SKEW / 2]))
    def set_a_clock(self, handle: int, off: float) -> None:
        """No two clocks differ by more than the skew."""
        self.off[handle] = off

    @rule(seconds=st.sampled_from([0.5, 61.0, 99.0, 161.0, 221.0, 1000.0, 90_000.0]), handle=handles)
    def prune_later(self, seconds: float, handle: int) -> None:
        self.now += seconds
        self.run(self._pruned(handle))

    async def _pruned(self, handle: int) -> None:
        await self.databases[handle].prune(self.now + self.off[handle])

    @rule(seconds=st.sampled_from([161.0, 90_000.0]), handle=handles)
    def grow_old(self, seconds: float, handle: int) -> None:
        """What is settled is forgotten; whatever comes later of it is answered `forgotten`, or as before."""
        self.now += seconds
        self.run(self._grown_old(handle))

    async def _grown_old(self, handle: int) -> None:
        await self._flushed(handle)
        await self.databases[handle].run([])
        await self.databases[handle].forget("commands", self.now - 50_000)

    @rule(handle=handles)
    def send_what_is_unsent(self, handle: int) -> None:
        """Every stored answer that waits is one that was given."""
        for key, reply in self.run(self._flushed(handle)):
            assert key.startswith(reply.key.rsplit(":", 1)[0] + ":")

    async def _flushed(self, handle: int) -> list[tuple[str, Envelope]]:
        rows = await self.databases[handle].unsent(100)
        await self.databases[handle].mark_sent([row.key for row in rows])
        assert not await self.databases[handle].unsent(100)
        return [(row.key, Envelope.loads(row.content)) for row in rows]

    # --- what must hold ---

    def _check_answer(self, sent: Envelope, reply: Envelope) -> None:
        known = self.effects[sent.correlation_id]
        operation = sent.key.rsplit(":", 1)[1]
        answer = (reply.outcome or "", reply.type, reply.data)
        if operation == "close":
            of = json.loads(sent.data)["of"]
            assert known.closed.setdefault(of, answer) == answer
            if answer[1] == Closed.type_name:
                return
            operation = of  # the stored outcome of what was to be closed
        before = known.answers.setdefault(operation, answer)
        if before != answer:
            # A refusal was forgotten: that its time is over, or its undo, then says the same once more.
            assert operation == "do" and before[0] == answer[0] == "refused", (sent.key, before, answer)
        if answer[0] == "refused":
            assert operation == "do"
            known.ended = self.now if known.ended is None else known.ended

    def _expected(self, known: Effect) -> int:
        """The net effect, where every answer was heard."""
        done = known.answers.get("do", ("",))[0] == "ok"
        return int(done and known.answers.get("undo", ("", ""))[1] != Refunded.type_name)

    @invariant()
    def every_effect_is_single_and_none_stands_that_must_not(self) -> None:
        if hasattr(self, "databases"):
            nets = self.run(self._nets())
            for saga, known in self.effects.items():
                net = nets[saga]
                assert net in (0, 1), f"{saga} has {net} effects"
                do, undo = known.answers.get("do"), known.answers.get("undo")
                assert net == self._expected(known), (saga, net, known)
                if (do and do[0] == "refused") or known.closed.get("do", ("", ""))[1] == Closed.type_name:
                    assert net == 0, f"{saga} was refused or closed, but stands"
                if undo and "undo" not in known.closed:
                    assert net == 0, f"{saga} was undone, but stands"

    async def _nets(self) -> dict[str, int]:
        return {saga: await self._looking(self.databases[0], self._order(saga)) for saga in IDS}
