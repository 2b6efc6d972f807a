"""The services of a simulated world: they do what the run's script says, and write every effect into a ledger.

The ledger lies in the service's own database and is written in the very transaction of the effect, so it tells what
truly happened there; nobody's claims are needed.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from contextlib import suppress
from contextvars import Context, ContextVar
from copy import copy
from functools import cached_property, partial
from typing import Any, Literal

from choros.app.app import App
from choros.app.around import surrounded
from choros.app.handler import Argument, Call, Handler
from choros.app.outbox import Outbox
from choros.app.service import Service
from choros.errors import Refused, UsageError
from choros.messages import Command, Fact, Reply
from choros.names import LONGEST_NAME
from choros.saga.paths import declared
from choros.store.barrier import Transaction
from choros_verify.simulation.invention import invent
from choros_verify.simulation.keeping import TAKEN_BACK, Deed, Keeping
from choros_verify.simulation.own_services import Own, OwnServices
from choros_verify.simulation.processes import running
from choros_verify.simulation.script import ScriptLine

HANDLER_SECONDS = 50.0
"""How long a handler may take: longer than one that is scripted to be slow."""
LATE = 20.0
"""Seconds by which one comes back too late that passes over being cancelled."""
Replies = Mapping[type[Reply], Callable[[Any], Reply]]
"""How to answer a command, by the type of the reply, where a made-up one will not do."""


def always(reply: Reply) -> Callable[[Any], Reply]:
    """Answers every command with this."""
    return lambda _: reply


def _taken(known: Handler | None) -> Mapping[str, Argument]:
    """What a handler takes that stands for this one: an outbox only where that may let something leave."""
    usual: dict[str, Argument] = {"message": "message", "call": "call", "db": "transaction"}
    return usual | ({"outbox": "outbox"} if known and known.leaves else {})


def _chosen(publishes: Sequence[type[Fact]], key: str) -> type[Fact]:
    """One of them, the same for the same message."""
    return publishes[sum(key.encode()) % len(publishes)]


def _blank(service: Service) -> Service:
    """The same service, and nobody in it."""
    blank = copy(service)
    blank.handlers, blank.reactions, blank.preparations, blank.surroundings = {}, {}, [], []
    return blank


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
    ):
        """`answer` makes up what a command is answered or refused with, of that type."""
        self.loop = loop
        self.keeping = keeping
        """What handlers' databases lie in."""
        self._answer = answer
        self._outside = outside
        self._script = script
        self._tried: Counter[str] = Counter()
        self._numbered = 0
        self.meddle: Callable[[Call], Awaitable[None]] = _leave_alone
        """What else happens in the middle of a handler; at a provider, before and after it has been asked."""
        self._called_off: set[str] = set()
        self.under_way = 0
        """Requests that have not arrived at their provider yet."""
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
        if line is None:
            return
        self._tried[call.key] += 1
        if line.outcome == "slow":
            await asyncio.sleep(line.amount)
        elif line.outcome in ("hangs", "deaf"):
            await self._hang(line, self._tried[call.key])
        elif line.outcome in ("panics", "cancels") and self._tried[call.key] <= line.amount:
            raise ScriptedPanic if line.outcome == "panics" else asyncio.CancelledError
        elif line.outcome == "refused":
            data = type(command).refusal_data.get(line.code)
            raise Refused(line.code, data=self._answer(command, data) if data else None)
        elif line.outcome == "stuck" or (line.outcome == "transient" and self._tried[call.key] <= line.amount):
            raise ScriptedFailure

    async def _hang(self, line: ScriptLine, tried: int) -> None:
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


class Troupe:
    """An application whose services are played: made once, then put on any number of stages, one after another."""

    def __init__(self, app: App, *, own: Own = (), replies: Replies | None = None) -> None:
        self._replies = replies or {}
        self._examples: dict[type[Any], Any] = {}
        self._stage: OutsideWorld | None = None
        self.own = OwnServices(app, own)
        """Those of its services that are not played."""
        self._check_replies(app, own)
        services = [self._own(s) if s.name in own else self._play(s) for s in app.services.values()]
        self.app = App(app.namespace, sagas=app.sagas.values(), services=services, name=app.name, fact_log=app.fact_log)

    @cached_property
    def beside(self) -> App:
        """The same under another namespace."""
        return self.app.within(f"beside-{self.app.namespace}"[:LONGEST_NAME].rstrip("_-"))

    def _check_replies(self, app: App, own: Container[str]) -> None:
        """Whether there is an answer to whatever the sagas command; without one every run would look like an outage."""
        given: Mapping[type[Reply], object] = self._replies
        for kind, answer in given.items():
            if not callable(answer):
                hint = f"replies={{{kind.__name__}: lambda command: {kind.__name__}(...)}}."
                raise UsageError(f"The reply given for {kind.__name__} is no function.", hint)
        leaves = [leaf for saga in app.sagas.values() for leaf in saga.outline.commands]
        commanded = {command for leaf in leaves for commands in leaf.commands.values() for command in commands}
        for service in (service for service in app.services.values() if service.name not in own):
            for command in service.commands:
                for kind in (command.reply_type, *command.refusal_data.values()) if command in commanded else ():
                    if kind not in self._replies:
                        self.example(kind)

    def example(self, kind: type[Any]) -> Any:
        """A reply, or a signal, of this type: one that was given, or one made up; raises UsageError where none comes to
        mind."""
        if kind not in self._examples:
            self._examples[kind] = invent(kind)
        return self._examples[kind]

    def enter(self, stage: OutsideWorld) -> None:
        """From here on they play there."""
        self._stage = stage
        self.own.renew()

    @property
    def _on(self) -> OutsideWorld:
        assert self._stage is not None
        return self._stage

    def _play(self, service: Service) -> Service:
        played = _blank(service)
        for command in service.commands:
            known = service.handlers.get(command.type_name)
            provider = bool(known and known.provider)
            handler = self._provider(service, command) if provider else self._handler(service, command, known, None)
            played.handlers[command.type_name] = handler
        for fact in service.facts:
            played.reactions[fact.type_name] = self._reaction(
                service, fact, service.reactions.get(fact.type_name), None
            )
        return played

    def _own(self, service: Service) -> Service:
        """The service's own handlers, each with a line in the ledger beside its effect."""
        played, made = _blank(service), self.own.of(service.name)
        played.preparations = [partial(self._prepare, service.name)]
        for name, handler in made.handlers.items():
            at_work, command = self._at_work(service, name), handler.message
            played.handlers[name] = (
                self._own_provider(service, command, at_work)
                if handler.provider
                else self._handler(service, command, handler, at_work)
            )
        for name, handler in made.reactions.items():
            played.reactions[name] = self._reaction(service, handler.message, handler, self._at_work(service, name))
        return played

    def _at_work(self, service: Service, kind: str) -> Callable[[], Handler]:
        return partial(self.own.handler, service.name, kind)

    async def _call(
        self, service: Service, own: Handler, message: Any, db: Transaction | None, call: Call,
        outbox: Outbox | None = None,
    ) -> Any:  # fmt: skip
        """A handler of its own, with what it needs, and what is around it."""
        made = self.own.of(service.name)
        calling = partial(own, message, db, call, outbox, made.given)
        return await surrounded(made.surroundings, message, call, calling)()

    async def _prepare(self, service: str, db: Transaction) -> None:
        for prepare in self.own.of(service).preparations:
            await prepare(db)

    def _handler(
        self, service: Service, command: type[Any], known: Handler | None, own: Callable[[], Handler] | None
    ) -> Handler:
        publishes = known.publishes if known else ()

        async def carry_out(message: Any, call: Call, db: Transaction, outbox: Outbox | None = None) -> Reply:
            self._on.call(call)
            kind = call.key.rpartition(":")[2]
            await self._keep(db, self._on.effect(service.name, call, kind))
            await self._on.perform(message, call)
            if own is None:
                if outbox and publishes:
                    await outbox.publish(self.example(_chosen(publishes, call.key)))
                return self.answer(message, type(message).reply_type)
            try:
                reply: Reply = await self._call(service, own(), message, db, call, outbox)
            except Refused:
                if db.local_undo.taken_back:
                    await self._keep(db, self._on.effect(service.name, call, TAKEN_BACK))
                raise
            return reply

        return Handler(command, carry_out, _taken(known), Transaction, publishes=publishes)

    def _provider(self, service: Service, command: type[Any]) -> Handler:
        async def ask(message: Any, call: Call) -> Reply | None:
            self._on.call(call)
            return self.answer(message, type(message).reply_type) if call.key in self._on.provided else None

        async def provide(message: Any, call: Call) -> Reply:
            self._on.call(call)
            await self._on.provide(service.name, call, message)
            return self.answer(message, type(message).reply_type)

        async def cancel(message: Any, call: Call) -> Reply | None:
            self._on.call(call)
            return None if self._on.call_off(call) else self.answer(message, type(message).reply_type)

        arguments: Any = {"message": "message", "call": "call"}
        asking, cancelling = (Handler(command, way, arguments, None, True) for way in (ask, cancel))
        known = service.handlers[command.type_name]
        return Handler(command, provide, arguments, None, True, asking, cancelling if known.cancel else None)

    def _own_provider(self, service: Service, command: type[Any], own: Callable[[], Handler]) -> Handler:
        """What it has done at its provider is known once it says so."""

        async def provide(message: Any, call: Call) -> Reply:
            self._on.call(call)
            await self._on.perform(message, call)
            reply: Reply = await self._call(service, own(), message, None, call)
            self._on.provided_by(service.name, call)
            return reply

        arguments: Any = {"message": "message", "call": "call"}
        ask, cancel = self._own_way(service, own, "ask"), self._own_way(service, own, "cancel")
        return Handler(command, provide, arguments, None, True, ask, cancel)

    def _own_way(self, service: Service, own: Callable[[], Handler], name: Literal["ask", "cancel"]) -> Handler | None:
        async def settle(message: Any, call: Call) -> Reply | None:
            reply: Reply | None = await self._call(service, getattr(own(), name), message, None, call)
            if reply is not None:
                self._on.provided_by(service.name, call)
            return reply

        made = own()
        arguments: Any = {"message": "message", "call": "call"}
        return Handler(made.message, settle, arguments, None, True) if getattr(made, name) else None

    def _reaction(
        self, service: Service, fact: type[Any], known: Handler | None, own: Callable[[], Handler] | None
    ) -> Handler:
        publishes = known.publishes if known else ()

        async def react(message: Any, call: Call, db: Transaction, outbox: Outbox | None = None) -> Fact | None:
            self._on.call(call)
            await self._keep(db, self._on.effect(service.name, call, "fact"))
            if own:
                told: Fact | None = await self._call(service, own(), message, db, call, outbox)
                return told
            made_up: Fact | None = self.example(_chosen(publishes, call.message_id)) if publishes else None
            return made_up

        return Handler(fact, react, _taken(known), Transaction, publishes=publishes)

    async def _keep(self, db: Transaction, deed: Deed) -> None:
        await asyncio.sleep(0)
        await self._on.keeping.write(db, deed)

    def answer(self, command: Command[Any], kind: type[Reply]) -> Reply:
        """What this command is answered or refused with, of that type."""
        if kind not in self._replies:
            made_up: Reply = self.example(kind)
            return made_up
        reply = self._replies[kind](command)
        self._examples.setdefault(kind, reply)
        return reply
