"""The services of a simulated world: they do what the run's script says, and write every effect into a ledger.

The ledger lies in the service's own database and is written in the very transaction of the effect, so it tells what
truly happened there; nobody's claims are needed.
"""

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from copy import copy
from functools import cached_property, partial
from typing import Any, Literal

from choros.app.app import App
from choros.app.around import surrounded
from choros.app.handler import Argument, Call, Handler
from choros.app.later import Later
from choros.app.outbox import Outbox
from choros.app.service import Service
from choros.errors import Refused, UsageError
from choros.messages import Command, Fact, Reply
from choros.names import LONGEST_NAME
from choros.store.barrier import Transaction
from choros_verify.simulation.invention import invent
from choros_verify.simulation.keeping import TAKEN_BACK, Deed
from choros_verify.simulation.outside_world import OutsideWorld
from choros_verify.simulation.own_services import Own, OwnServices
from choros_verify.simulation.staged_flows import REACTED, WITHDREW, Begins, FlowPiece, StagedFlows

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


class Troupe:
    """An application whose services are played: made once, then put on any number of stages, one after another."""

    def __init__(
        self, app: App, *, own: Own = (), replies: Replies | None = None, begins: Begins | None = None
    ) -> None:
        self._replies = replies or {}
        self.flows = StagedFlows(app.choreographies.values(), begins)
        """Its choreographies."""
        self._examples: dict[type[Any], Any] = {}
        self._stage: OutsideWorld | None = None
        self.own = OwnServices(app, own)
        """Those of its services that are not played."""
        self._check_replies(app, own)
        self._later = {
            (leaf.to, command)
            for saga in app.sagas.values()
            for leaf in saga.outline.commands
            for command in (leaf.commands["do"] if leaf.finished_within else ())
        }
        services = [self._own(s) if s.name in own else self._play(s) for s in app.services.values()]
        self.app = App(
            app.namespace, sagas=app.sagas.values(), services=services, name=app.name, fact_log=app.fact_log,
            choreographies=app.choreographies.values(),
        )  # fmt: skip

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
        for piece in (piece for piece in self.flows.pieces if piece.reaction.service not in own):
            for fact in piece.reaction.publishes:
                self.example(fact)

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

        async def carry_out(message: Any, call: Call, db: Transaction, outbox: Outbox | None = None) -> Reply | Later:
            self._on.call(call)
            if own is None and self._on.takes(call):
                self._on.take(service.name, call, message)
                return Later()
            kind = call.key.rpartition(":")[2]
            if not call.token:  # else there is nothing that it undoes
                await self._keep(db, self._on.effect(service.name, call, kind))
            await self._on.perform(message, call)
            if own is None:
                if outbox and publishes:
                    await outbox.publish(self.example(_chosen(publishes, call.key)))
                return self.answer(message, type(message).reply_type)
            return await self._own_answer(service, own(), message, call, db, outbox)

        later = known.later if own and known else (service.name, command) in self._later
        return Handler(command, carry_out, _taken(known), Transaction, publishes=publishes, later=later)

    async def _own_answer(
        self, service: Service, own: Handler, message: Any, call: Call, db: Transaction, outbox: Outbox | None
    ) -> Reply | Later:
        """What the service's own handler says; where that undid what was done, or puts it off, it was not done."""
        try:
            reply: Reply | Later = await self._call(service, own, message, db, call, outbox)
        except Refused:
            if db.local_undo.taken_back:
                await self._keep(db, self._on.effect(service.name, call, TAKEN_BACK))
            raise
        if isinstance(reply, Later):
            await self._keep(db, self._on.effect(service.name, call, TAKEN_BACK))
            self._on.take(service.name, call, message, reply.token)
        return reply

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

        async def provide(message: Any, call: Call) -> Reply | Later:
            self._on.call(call)
            await self._on.perform(message, call)
            reply: Reply | Later = await self._call(service, own(), message, None, call)
            if isinstance(reply, Later):
                self._on.take(service.name, call, message, reply.token)
            elif not call.token:
                self._on.provided_by(service.name, call)
            return reply

        arguments: Any = {"message": "message", "call": "call"}
        ask, cancel = self._own_way(service, own, "ask"), self._own_way(service, own, "cancel")
        return Handler(command, provide, arguments, None, True, ask, cancel, later=own().later)

    def _own_way(self, service: Service, own: Callable[[], Handler], name: Literal["ask", "cancel"]) -> Handler | None:
        async def settle(message: Any, call: Call) -> Reply | Later | None:
            reply: Reply | Later | None = await self._call(service, getattr(own(), name), message, None, call)
            if isinstance(reply, Reply):
                self._on.provided_by(service.name, call)
            return reply

        made = own()
        arguments: Any = {"message": "message", "call": "call"}
        return Handler(made.message, settle, arguments, None, True) if getattr(made, name) else None

    def _reaction(
        self, service: Service, fact: type[Any], known: Handler | None, own: Callable[[], Handler] | None
    ) -> Handler:
        piece = self.flows.piece(service.name, fact.type_name)
        if piece and known:
            return self._piece(service, piece, known, own)
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

    def _piece(self, service: Service, piece: FlowPiece, known: Handler, own: Callable[[], Handler] | None) -> Handler:
        """A reaction of a flow: all that the runtime goes by is as it is declared."""

        async def react(message: Any, call: Call, db: Transaction, outbox: Outbox | None = None) -> Fact | None:
            self._on.call(call)
            undoes = piece.reaction.undoes is not None
            if call.stands or not undoes:
                await self._keep(db, self._on.reacted(piece, call, WITHDREW if undoes else REACTED))
            told: Fact | None = await self._call(service, own(), message, db, call, outbox) if own else None
            await self._on.react(piece, call, self.example)
            if own:
                return told
            said = piece.said(call.message_id)
            return self.example(said) if said else None

        return Handler(
            known.message, react, _taken(known), Transaction, publishes=known.publishes, silent=known.silent,
            undoes=known.undoes, effect=known.effect, join=known.join, gives_up=known.gives_up,
        )  # fmt: skip

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
