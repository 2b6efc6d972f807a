"""The world outside of the services: what the run's script wants of them, and the providers that they ask.

It outlives crashes. Every effect that it knows of is a line for a ledger.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import Context, ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any

from choros.app.handler import Call
from choros.errors import Refused
from choros.messages import Command, Fact, Reply
from choros.runtime.participant.unfinished import Unfinished
from choros.saga.paths import declared
from choros_verify.simulation.callbacks import FAILED, Callback, Callbacks, finishing
from choros_verify.simulation.keeping import Deed, Keeping
from choros_verify.simulation.processes import running
from choros_verify.simulation.script import BESIDE, FlowLine, ScriptLine
from choros_verify.simulation.staged_flows import FlowPiece

HANDLER_SECONDS = 50.0
"""How long a handler may take: longer than one that is scripted to be slow."""
LATE = 20.0
"""Seconds by which one comes back too late that passes over being cancelled."""
AT_ONCE = 1.0
"""Seconds after which somebody finishes what no line of the script speaks of."""


def _here() -> str:
    process = running.get()
    return process.name if process else "world"


async def _leave_alone(_: Call) -> None: ...


_called: ContextVar[str] = ContextVar("choros.simulation.called", default="")
"""What a handler leaves in its context, as many do: nobody else is to find it."""


class ScriptedFailure(Exception):
    """What a scripted handler fails with."""


class ScriptedPanic(BaseException):
    """What a scripted handler raises that comes from a foreign extension."""


class OutsideWorld:
    """What the handlers of one run share. It outlives crashes: it is the world outside."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outside: Context,
        script: Mapping[tuple[str, str, str], ScriptLine],
        answer: Callable[[Command[Any], type[Reply]], Reply],
        keeping: Keeping,
        reactions: Mapping[tuple[str, str], FlowLine] = MappingProxyType({}),
    ):
        """`answer` makes up what a command is answered or refused with, of that type; `reactions` is the script of
        flows, by their ids and the reactions' names."""
        self.loop = loop
        self.keeping = keeping
        """What handlers' databases lie in."""
        self._answer = answer
        self._outside = outside
        self._script, self._reactions = script, reactions
        self._tried: Counter[str] = Counter()
        self._numbered = 0
        self.meddle: Callable[[Call], Awaitable[None]] = _leave_alone
        """What else happens in the middle of a handler; at a provider, before and after it has been asked."""
        self._called_off: set[str] = set()
        self.under_way = 0
        """Requests that have not arrived at their provider yet."""
        self.callbacks = Callbacks(loop)
        """About what was taken, to be finished later."""
        self.provided: dict[str, Deed] = {}
        """What the outside providers have done, by idempotency key."""
        self.overheard: list[str] = []
        """Calls that met what another one had left in its context."""

    def call(self, call: Call) -> None:
        """A handler begins."""
        if _called.get():
            self.overheard.append(f"the call {call.key or call.message_id} met the context of {_called.get()}")
        _called.set(call.key or call.message_id)

    def effect(self, service: str, call: Call, kind: str, by: str = "") -> Deed:
        """A line for the ledger."""
        self._numbered += 1
        what = call.message_id if kind == "fact" else call.key
        return Deed(self._numbered, self.loop.time(), service, call.correlation_id, what, kind, by or _here())

    async def perform(self, command: Command[Any], call: Call) -> None:
        """What the script says about this command; raises it."""
        await self.meddle(call)
        line = self._line(call)
        if line is not None:
            data = type(command).refusal_data.get(line.code)
            refused = partial(Refused, line.code, data=self._answer(command, data) if data else None)
            await self._go_by(line, call.key, refused)

    async def _go_by(self, line: ScriptLine | FlowLine, key: str, refused: Callable[[], Refused]) -> None:
        self._tried[key] += 1
        if line.outcome == "slow":
            await asyncio.sleep(line.amount)
        elif line.outcome in ("hangs", "deaf"):
            await self._hang(line, self._tried[key])
        elif line.outcome in ("panics", "cancels") and self._tried[key] <= line.amount:
            raise ScriptedPanic if line.outcome == "panics" else asyncio.CancelledError
        elif line.outcome == "refused":
            raise refused()
        elif line.outcome == "stuck" or (line.outcome == "transient" and self._tried[key] <= line.amount):
            raise ScriptedFailure

    def reacted(self, piece: FlowPiece, call: Call, kind: str) -> Deed:
        """A line for the ledger: a reaction of a flow is made, or takes one back."""
        self._numbered += 1
        what = piece.line(call.correlation_id, call.message_id)
        at, service = self.loop.time(), piece.reaction.service
        return Deed(self._numbered, at, service, call.correlation_id, what, kind, _here())

    async def react(self, piece: FlowPiece, call: Call, example: Callable[[type[Fact]], Fact]) -> None:
        """What the script says about this reaction of a flow; raises it."""
        line = self._reactions.get((call.correlation_id, piece.name))
        if line is not None:
            said = next((fact for fact in piece.reaction.publishes if fact.type_name == line.code), None)
            refused = partial(Refused, "no", fact=example(said) if said else None)
            await self._go_by(line, f"{call.correlation_id} {piece.name}", refused)

    def takes(self, call: Call) -> bool:
        """Whether the script wants this command to be finished later."""
        line = self._line(call)
        return line is not None and line.outcome == "later"

    def take(self, service: str, call: Call, command: Command[Any], token: str = "") -> None:
        """It is taken: somebody finishes it, when and as the script says."""
        line = self._line(call) if self.takes(call) else None
        after, code = (line.amount, line.code) if line else (AT_ONCE, "")
        process = finishing(service, BESIDE if _here().startswith(BESIDE) else "")
        due = self.loop.time() + after
        self.callbacks.promise(Callback(process, service, call, command, token or call.key, due, code))

    async def finish(self, process: str, outside: Unfinished) -> None:
        """One life of the process that is called about what its service has taken."""

        async def say(one: Callback) -> str:
            async def effect(db: Any) -> None:
                await self.keeping.write(db, self.effect(one.service, one.call, "do"))

            if one.code == FAILED:
                return await outside.fail(one.token, "Broken")
            if one.code:
                data = type(one.command).refusal_data.get(one.code)
                refused = self._answer(one.command, data) if data else None
                return await outside.refuse(one.token, one.code, data=refused)
            reply = self._answer(one.command, type(one.command).reply_type)
            return await outside.complete(one.token, reply, effect=effect)

        await self.callbacks.call(process, say)

    async def _hang(self, line: ScriptLine | FlowLine, tried: int) -> None:
        if tried > line.amount:
            return
        if line.outcome == "hangs":
            await asyncio.Event().wait()
        late = self.loop.time() + HANDLER_SECONDS + LATE
        while (left := late - self.loop.time()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(left)

    def _line(self, call: Call) -> ScriptLine | None:
        asked = call.correlation_id, call.key.rpartition(":")[2]
        paths = dict.fromkeys((call.step, declared(call.step)))
        return next((line for path in paths if (line := self._script.get((asked[0], path, asked[1])))), None)

    async def provide(self, service: str, call: Call, command: Command[Any]) -> None:
        """Ask the outside provider; once under way, the request arrives whatever becomes of whoever asked."""
        if call.key not in self.provided:
            await self.perform(command, call)
            answered: asyncio.Future[None] = self.loop.create_future()
            self.under_way += 1
            strays = (line := self._line(call)) is not None and line.outcome == "strays"
            after = line.amount if line and strays else 0.01
            self.loop.call_later(after, self._land, service, call, _here(), answered, context=self._outside)
            if strays:
                raise ScriptedFailure
            await answered
            await self.meddle(call)
        if call.key in self._called_off:
            raise ScriptedFailure
        line = self._line(call)
        if line and line.outcome == "landed":
            self._tried[call.key] += 1
            if self._tried[call.key] <= line.amount:
                raise ScriptedFailure

    def provided_by(self, service: str, call: Call, by: str = "") -> None:
        """An outside provider has done it, now or before."""
        if call.key not in self.provided:
            self.provided[call.key] = self.effect(service, call, call.key.rpartition(":")[2], by)

    def call_off(self, call: Call) -> bool:
        """Have the outside provider refuse this key; whether that comes in time."""
        if call.key not in self.provided:
            self._called_off.add(call.key)
        return call.key in self._called_off

    def _land(self, service: str, call: Call, by: str, answered: asyncio.Future[None]) -> None:
        self.under_way -= 1
        if call.key not in self._called_off:
            self.provided_by(service, call, by)
        if not answered.done():
            answered.set_result(None)
