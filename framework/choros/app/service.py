"""A service: the commands that it carries out, and the facts that it reacts to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, Unpack, overload

from choros.app.around import Around, check_around
from choros.app.handler import Handler, Wanted, handler_of, reaction_of
from choros.app.hearing import Batch, Rate
from choros.app.joining import AllOf, Undone
from choros.app.memory import checked_memory
from choros.app.preparation import check_preparation
from choros.app.registered import check_message, declared, heard_in, published
from choros.app.replicas import Replicas, subscription_of
from choros.app.resources import Lifespan, Resource, Resources, check_resources, missing, resource_of
from choros.app.sending import Stamp, stamps_of
from choros.app.settings import NOTHING_SET, Settings
from choros.app.typed import (
    T2,
    T3,
    T4,
    C,
    CommandClass,
    HeardOf,
    R,
    ReactionOptions,
    Reacts,
    ReactsToAll,
    Registers,
    S,
    T,
)
from choros.errors import DeclarationError
from choros.messages import Command, Fact, Signal
from choros.names import RESERVED_NAMES, is_name
from choros.saga.checks import shown
from choros.store.barrier import Database
from choros.transport.topology import Subscription

DatabaseOf = Callable[[str], Database]
F = TypeVar("F", bound=Callable[..., Any])
P = TypeVar("P", bound=Callable[[Any], Awaitable[Any] | None])
L = TypeVar("L", bound=Lifespan)
A = TypeVar("A", bound=Around)


class Service:
    """A participant, a subscriber, or both, under one name.

    `commands` and `facts` say what the service deals with where its handlers are elsewhere, in a process of their
    own, and `publishes` what it may publish; `choros check` reads them. `signals` are what it may tell sagas.

    As a subscriber it may want more than the facts from now on, each by itself. `from_start`: those in the fact log
    too. `ordered`: those of one stream in order, a failing one holding back the later ones of its stream.
    `queue_limit`: no more than so many facts may wait for it; what is dropped it finds in the fact log. `remember`: how
    long its inbox knows a fact, by the time that is written in the fact (without it, a day longer than the fact log);
    one as old as what it has forgotten is parked.

    `settings` say how it runs where nobody sets that from outside. `database`, such as `partial(SqlAlchemyDatabase,
    engine)`, makes the service's own, whatever the addresses say: called with the namespace of the barrier's rows.
    """

    def __init__(
        self,
        name: str,
        *,
        commands: Iterable[type[Command[Any]]] = (),
        facts: Iterable[type[Fact]] = (),
        signals: Iterable[type[Signal]] = (),
        publishes: Iterable[type[Fact]] = (),
        from_start: bool = False,
        ordered: bool = False,
        queue_limit: int = 0,
        replicas: Replicas = "pool",
        remember: timedelta | None = None,
        settings: Settings = NOTHING_SET,
        database: DatabaseOf | None = None,
    ):
        if not is_name(name) or name in RESERVED_NAMES:
            raise DeclarationError(
                f"{shown(name)} is no name for a service.",
                f"use lower-case words joined by '-' or '_', none of {', '.join(sorted(RESERVED_NAMES))}.",
            )
        self.name = name
        self.settings = settings
        self.database: DatabaseOf | None = _database(name, database)
        """What makes its database for a namespace, where that is not found by an address."""
        self.from_start = from_start
        self.remember: timedelta | None = checked_memory(name, remember)
        self.subscription: Subscription = subscription_of(name, ordered, queue_limit, from_start, replicas)
        """How its queue of facts is declared."""
        self._commands = declared(name, "commands", commands, Command)
        self._facts = declared(name, "facts", facts, Fact)
        self.signals: tuple[type[Signal], ...] = declared(name, "signals", signals, Signal)
        """What it may tell sagas; those park all else that it tells them."""
        self._publishes = published(f"service {name!r}", publishes)
        self.handlers: dict[str, Handler] = {}
        """The command handlers, by type name."""
        self.reactions: dict[str, Handler] = {}
        """The fact handlers, by type name."""
        self.preparations: list[Callable[[Any], Any]] = []
        """What must be done before the first message."""
        self.surroundings: list[Around] = []
        """What is done around each call of a handler, the first of them outermost."""
        self.stamps: tuple[Stamp, ...] = ()
        """What is done around what it sends."""
        self.resources: dict[Any, Resource] = {}
        """What its lifespans make, by type."""
        self.given: Resources = {}
        """What is given in their place, by type."""

    def __repr__(self) -> str:
        return f"Service({self.name!r})"

    @property
    def commands(self) -> tuple[type[Command[Any]], ...]:
        """The commands that it carries out."""
        handled: list[Any] = [handler.message for handler in self.handlers.values()]
        return tuple(dict.fromkeys([*self._commands, *handled]))

    @property
    def needs_log(self) -> bool:
        """Whether it reads the fact log."""
        return self.from_start or self.subscription.at_most > 0

    @property
    def finishes_later(self) -> bool:
        """Whether some of its commands may be finished from outside."""
        return any(handler.later for handler in self.handlers.values())

    @property
    def publishes(self) -> tuple[type[Fact], ...]:
        """The facts that it may publish."""
        handlers = (*self.handlers.values(), *self.reactions.values())
        return tuple(dict.fromkeys([*self._publishes, *(fact for one in handlers for fact in one.publishes)]))

    @property
    def leaves(self) -> bool:
        """Whether its handlers may let something leave with their transaction: a fact, or a signal."""
        return any(handler.leaves for handler in (*self.handlers.values(), *self.reactions.values()))

    @property
    def facts(self) -> tuple[type[Fact], ...]:
        """The facts that it reacts to."""
        handled: list[Any] = [handler.message for handler in self.reactions.values()]
        return tuple(dict.fromkeys([*self._facts, *handled]))

    def handles(
        self,
        command: CommandClass[C, R],
        *,
        publishes: type[Fact] | Iterable[type[Fact]] = (),
        concurrency: int | None = None,
        handler_time: timedelta | None = None,
    ) -> Registers[C, R]:
        """Register the handler of a command whose effect is in the service's own database.

        The handler returns the reply, or raises `Refused`; any other exception is retried by the saga. It names what
        it takes: the command, a `Transaction`, a `LocalUndo`, the `Call`. No more than `concurrency` calls of it are at
        work at a time; one that takes longer than `handler_time` is cancelled, and fails."""
        kind: Any = command
        check_message(self.name, "handles", kind, Command)
        settings = Settings(concurrency=concurrency, handler_time=handler_time)
        facts = published(f"service {self.name!r}: handles", publishes)

        def register(function: F) -> F:
            handler = handler_of(self.name, kind, function, settings, publishes=facts)
            self._check_way_out(handler, refusable=bool(kind.refusals))
            self._add(self.handlers, handler)
            return function

        return register

    def provider(
        self,
        command: CommandClass[C, R],
        *,
        ask: Callable[..., Any] | None = None,
        cancel: Callable[..., Any] | None = None,
        concurrency: int | None = None,
        handler_time: timedelta | None = None,
    ) -> Registers[C, R]:
        """Register the handler of a command whose effect lies outside the service's database, such as a bank's.

        It must pass `call.key` on as idempotency key: after a crash it is called again under the same key. `ask`
        finds out what became of an earlier call instead: it returns the reply, raises `Refused`, or returns None
        where the provider does not know the key; then it is called again. `cancel` is called in its place where nobody
        wants the effect any more: once it returns None, the provider must refuse the key for ever; where that comes too
        late, it returns the reply or raises `Refused`. `concurrency` and `handler_time` as for `handles`."""
        kind: Any = command
        check_message(self.name, "provider", kind, Command)
        settings = Settings(concurrency=concurrency, handler_time=handler_time)

        def register(function: F) -> F:
            way = partial(handler_of, self.name, kind, settings=settings, provider=True)
            asking, cancelling = (way(one) if one else None for one in (ask, cancel))
            self._add(self.handlers, way(function, ask=asking, cancel=cancelling))
            return function

        return register

    @overload
    def on(self, fact: type[T], /, **how: Unpack[ReactionOptions]) -> Reacts[T]: ...
    @overload
    def on(self, facts: AllOf[T, T2, T3, T4], /, **how: Unpack[ReactionOptions]) -> ReactsToAll[T, T2, T3, T4]: ...
    @overload
    def on(self, a: type[T], b: type[T2], /, **how: Unpack[ReactionOptions]) -> Reacts[T | T2]: ...
    @overload
    def on(self, a: type[T], b: type[T2], c: type[T3], /, **how: Unpack[ReactionOptions]) -> Reacts[T | T2 | T3]: ...
    @overload
    def on(
        self, a: type[T], b: type[T2], c: type[T3], d: type[T4], /, **how: Unpack[ReactionOptions]
    ) -> Reacts[T | T2 | T3 | T4]: ...
    @overload
    def on(
        self, a: type[T], b: type[T], c: type[T], d: type[T], e: type[T], /, *more: type[T],
        **how: Unpack[ReactionOptions],
    ) -> Callable[[F], F]: ...  # fmt: skip
    def on(
        self,
        *facts: HeardOf,
        undoes: Undone | None = None,
        effect: str = "",
        gives_up: Callable[..., Fact] | None = None,
        publishes: type[Fact] | Iterable[type[Fact]] = (),
        where: Mapping[str, Any] | None = None,
        batch: Batch | None = None,
        at_most: Rate | None = None,
        concurrency: int | None = None,
        handler_time: timedelta | None = None,
    ) -> Any:
        """Register a reaction to facts. Nobody waits for it. Handled exactly once where it writes through the
        `Transaction` that it names, at least once otherwise.

        With `publishes` it returns one of these facts, or None where its annotation says so (`-> Charged | None`): the
        fact leaves with its effect, or not at all. `raise Refused(code, fact=Declined(...))` rolls the effect back, and
        publishes that in its place. It takes a `Transaction`.

        `where` says which facts of these types, by the values of their fields, or of `source`, `subject`, `saganame`
        and `sagastep`: `where={"region": ("eu", "uk"), "express": True}`. One that takes a `list` of facts is given
        several at once, of one type, in one transaction; `batch` says how many, and how long they may be waited for.
        `at_most` says how often it is called, in each process.

        With `undoes` it takes back this service's reaction to that other fact of the same saga. It is called only if
        that was handled; where it comes first, that is never handled. Both take a `Transaction`.
        `effect` names what it does: by that name it is undone (`undoes="charge"`), by any number of facts, once.

        A fact whose handler has failed for the last time is parked. With `gives_up`, a function of its facts, that fact
        is published in place of what it does, which is never done then.

        With `all_of(A, B)` it waits until each of them has come, of one flow (of one correlation id where there is
        none), and takes all of them; in the transaction of the last one, so it takes a `Transaction`.
        `concurrency` and `handler_time` as for `handles`."""
        settings = Settings(concurrency=concurrency, handler_time=handler_time)
        join, heard = heard_in(self.name, facts, undoes)
        told = published(f"service {self.name!r}: on", publishes)
        wanted = Wanted(settings, undoes, where, at_most, batch, told, effect, join, gives_up)

        def register(function: F) -> F:
            for fact in heard:
                handler = reaction_of(self.name, fact, function, wanted, self.subscription)
                self._check_way_out(handler)
                self._add(self.reactions, handler)
            return function

        return register

    def prepares(self, function: P) -> P:
        """Register what must be there before the first message, such as tables: an async function of a `Transaction`
        (or one without `async` of a session that blocks).
        It runs at every start, in a transaction of its own, so it must be repeatable."""
        check_preparation(self.name, function)
        self.preparations.append(function)
        return function

    def around(self, function: A) -> A:
        """Register what is done around each call of its handlers: an async function of the message, the `Call` and what
        goes on, `return await go_on()`. It may raise in place of the handler, such as `Refused` for what a library
        raised; what it returns is the handler's answer. The first that is registered is outermost. It runs within the
        handler's transaction, as often as the handler does."""
        check_around(f"service {self.name!r}: {shown(function)}", function)
        self.surroundings.append(function)
        return function

    def sends(self, function: S) -> S:
        """Register what is done around what it sends: a function of the `SentMessage` that says which headers it shall
        have, `return {**sent.headers, "region": "eu"}`. The first of them is asked first."""
        self.stamps += stamps_of(f"service {self.name!r}: sends", [function])
        return function

    def lifespan(self, function: L) -> L:
        """Register what makes a resource for its handlers, which ask for it by its type: an async generator that yields
        it once, such as `async def http() -> AsyncIterator[httpx.AsyncClient]`, or what `asynccontextmanager` makes of
        one. Each process opens it before the first message, and closes it after the last one."""
        made = resource_of(f"service {self.name!r}", function)
        if made.kind in self.resources:
            names = f"{self.resources[made.kind].name} and {made.name}"
            hint = "give one of them a type of its own, with NewType."
            raise DeclarationError(f"service {self.name!r}: {names} make the same type of resource.", hint)
        self.resources[made.kind] = made
        return function

    def using(self, resources: Resources) -> Service:
        """The same service with these resources, by their types, in place of what its lifespans make: in tests, and in
        the simulation. Nobody opens or closes them."""
        used = copy(self)
        used.given = {**self.given, **resources}
        return used

    def include(self, *parts: Service) -> None:
        """Take over all that is registered with other values of this service by now: its handlers in other modules."""
        for part in parts:
            _check_part(self, part)
            for handler in part.handlers.values():
                self._add(self.handlers, handler)
            for handler in part.reactions.values():
                self._add(self.reactions, handler)
            self.preparations += part.preparations
            self.surroundings += part.surroundings
            self.stamps += part.stamps
            for resource in part.resources.values():
                self.lifespan(resource.function)

    @property
    def asked(self) -> Collection[Any]:
        """The types of resources that its handlers ask for."""
        return dict.fromkeys(kind for one in self.called for kind in one.asks_for)

    @property
    def lacking(self) -> str:
        """Those of them that nobody has given, for a sentence."""
        return missing(self.asked, self.given)

    @property
    def called(self) -> Sequence[Handler]:
        """All that is called for a message, and to settle what became of it."""
        handlers = (*self.handlers.values(), *self.reactions.values())
        return [way for one in handlers for way in (one, one.ask, one.cancel) if way is not None]

    def check_resources(self) -> None:
        """Raises DeclarationError where a handler asks for what nobody makes."""
        asking = {one.name: one.asks_for for one in self.called}
        check_resources(f"service {self.name!r}", asking, (*self.resources, *self.given))

    def _check_way_out(self, handler: Handler, *, refusable: bool = True) -> None:
        """A handler of commands publishes by its Outbox, or when it refuses; a reaction by what it returns."""
        where, takes = f"service {self.name!r}: {handler.name}", "outbox" in handler.arguments.values()
        commanded = issubclass(handler.message, Command)
        if takes and not (self.signals or (commanded and handler.publishes)):
            how = "handles(..., publishes=(SomeFact,))" if commanded else "return the fact, and on(..., publishes=...)"
            raise DeclarationError(
                f"{where} takes an Outbox, but is declared to publish nothing, and the service to signal nothing.",
                f"{how}, or Service({self.name!r}, signals=(SomeSignal,)).",
            )
        if commanded and handler.publishes and not (takes or refusable):
            raise DeclarationError(
                f"{where} publishes {handler.publishes[0].__name__}, but takes no Outbox to do so.",
                "outbox: Outbox among its parameters, and await outbox.publish(...).",
            )

    def _add(self, handlers: dict[str, Handler], handler: Handler) -> None:
        name = handler.message.type_name
        if name in handlers:
            both = f"{handlers[name].name} and {handler.name}"
            sentence = f"service {self.name!r} handles {handler.message.__name__} twice, in {both}."
            raise DeclarationError(sentence, "keep one.")
        handlers[name] = handler

    def missing(self) -> list[str]:
        """Names of declared messages that no handler is registered for."""
        have = {*self.handlers, *self.reactions}
        return [m.__name__ for m in (*self._commands, *self._facts) if m.type_name not in have]


def _check_part(whole: Service, part: object) -> None:
    """Whether it is the same service, declared in another module."""
    if not isinstance(part, Service) or part is whole or part.name != whole.name:
        raise DeclarationError(
            f"service {whole.name!r} includes {shown(part)}, which is no other part of it.",
            f"in the other module, {whole.name.replace('-', '_')} = Service({whole.name!r}), and register with that.",
        )
    if part.subscription != whole.subscription:
        raise DeclarationError(
            f"service {whole.name!r} includes a part that is to hear facts otherwise.",
            "say ordered=True or queue_limit=... alike in all of them.",
        )


def _database(service: str, database: object) -> Any:
    if database is not None and not callable(database):
        raise DeclarationError(
            f"service {service!r}: its database is {shown(database)}, which cannot be called.",
            "database=partial(SqlAlchemyDatabase, engine): it is made anew for each who opens it.",
        )
    return database
