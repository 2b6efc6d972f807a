"""A service: the commands that it carries out, and the facts that it reacts to."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar, cast, get_args

from choros.app.handler import Handler, Wanted, check_async, handler_of, reaction_of
from choros.app.hearing import Batch, Rate
from choros.app.sessions import is_session
from choros.app.settings import NOTHING_SET, Settings
from choros.errors import DeclarationError
from choros.messages import Command, Fact, Message, Signal
from choros.names import RESERVED_NAMES, is_name
from choros.saga.checks import is_a, listed, shown
from choros.saga.parameters import hints_of
from choros.saga.policy import check_duration
from choros.store.barrier import Database, Transaction
from choros.transport.fact_log import FactLog
from choros.transport.topology import Subscription

Replicas = Literal["pool", "every", "singleton"]
REPLICAS: tuple[str, ...] = get_args(Replicas)
SHORTEST_MEMORY = timedelta(hours=1)
"""A fact that fails is on its way for half of that."""

DatabaseOf = Callable[[str], Database]
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
P = TypeVar("P", bound=Callable[[Any], Awaitable[Any]])


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
        self.remember: timedelta | None = _remember(name, remember)
        self.subscription: Subscription = _subscription(name, ordered, queue_limit, from_start, replicas)
        """How its queue of facts is declared."""
        self._commands = _declared(name, "commands", commands, Command)
        self._facts = _declared(name, "facts", facts, Fact)
        self.signals: tuple[type[Signal], ...] = _declared(name, "signals", signals, Signal)
        """What it may tell sagas; those park all else that it tells them."""
        self._publishes = _published(f"service {name!r}", publishes)
        self.handlers: dict[str, Handler] = {}
        """The command handlers, by type name."""
        self.reactions: dict[str, Handler] = {}
        """The fact handlers, by type name."""
        self.preparations: list[Callable[[Any], Awaitable[Any]]] = []
        """What must be done before the first message."""

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
        command: type[Command[Any]],
        *,
        publishes: type[Fact] | Iterable[type[Fact]] = (),
        concurrency: int | None = None,
        handler_time: timedelta | None = None,
    ) -> Callable[[F], F]:
        """Register the handler of a command whose effect is in the service's own database.

        The handler returns the reply, or raises `Refused`; any other exception is retried by the saga. It names what
        it takes: the command, a `Transaction`, a `LocalUndo`, the `Call`. No more than `concurrency` calls of it are at
        work at a time; one that takes longer than `handler_time` is cancelled, and fails."""
        _check_message(self.name, "handles", command, Command)
        settings = Settings(concurrency=concurrency, handler_time=handler_time)

        facts = _published(f"service {self.name!r}: handles", publishes)

        def register(function: F) -> F:
            handler = handler_of(self.name, command, function, settings, publishes=facts)
            self._check_way_out(handler, refusable=bool(command.refusals))
            self._add(self.handlers, handler)
            return function

        return register

    def provider(
        self,
        command: type[Command[Any]],
        *,
        ask: Callable[..., Awaitable[Any]] | None = None,
        cancel: Callable[..., Awaitable[Any]] | None = None,
        concurrency: int | None = None,
        handler_time: timedelta | None = None,
    ) -> Callable[[F], F]:
        """Register the handler of a command whose effect lies outside the service's database, such as a bank's.

        It must pass `call.key` on as idempotency key: after a crash it is called again under the same key. `ask`
        finds out what became of an earlier call instead: it returns the reply, raises `Refused`, or returns None
        where the provider does not know the key; then it is called again. `cancel` is called in its place where nobody
        wants the effect any more: once it returns None, the provider must refuse the key for ever; where that comes too
        late, it returns the reply or raises `Refused`. `concurrency` and `handler_time` as for `handles`."""
        _check_message(self.name, "provider", command, Command)
        settings = Settings(concurrency=concurrency, handler_time=handler_time)

        def register(function: F) -> F:
            way = partial(handler_of, self.name, command, settings=settings, provider=True)
            asking, cancelling = (way(one) if one else None for one in (ask, cancel))
            self._add(self.handlers, way(function, ask=asking, cancel=cancelling))
            return function

        return register

    def on(
        self,
        *facts: type[Fact],
        undoes: type[Fact] | None = None,
        publishes: type[Fact] | Iterable[type[Fact]] = (),
        where: Mapping[str, Any] | None = None,
        batch: Batch | None = None,
        at_most: Rate | None = None,
        concurrency: int | None = None,
        handler_time: timedelta | None = None,
    ) -> Callable[[F], F]:
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
        `concurrency` and `handler_time` as for `handles`."""
        settings = Settings(concurrency=concurrency, handler_time=handler_time)
        for fact in (*(facts or (None,)), *([undoes] if undoes is not None else [])):
            _check_message(self.name, "on", fact, Fact)

        told = _published(f"service {self.name!r}: on", publishes)
        wanted = Wanted(settings, undoes, where, at_most, batch, told)

        def register(function: F) -> F:
            for fact in facts:
                handler = reaction_of(self.name, fact, function, wanted, self.subscription)
                self._check_way_out(handler)
                self._add(self.reactions, handler)
            return function

        return register

    def prepares(self, function: P) -> P:
        """Register what must be there before the first message, such as tables: an async function of a `Transaction`.
        It runs at every start, in a transaction of its own, so it must be repeatable."""
        _check_preparation(self.name, function)
        self.preparations.append(function)
        return function

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
            raise DeclarationError(
                f"service {self.name!r} handles {handler.message.__name__} twice,"
                f" in {handlers[name].function.__name__} and {handler.function.__name__}.",
                "keep one.",
            )
        handlers[name] = handler

    def missing(self) -> list[str]:
        """Names of declared messages that no handler is registered for."""
        have = {*self.handlers, *self.reactions}
        return [m.__name__ for m in (*self._commands, *self._facts) if m.type_name not in have]


def _subscription(service: str, ordered: bool, queue_limit: int, from_start: bool, replicas: str) -> Subscription:
    if queue_limit < 0:
        raise DeclarationError(f"service {service!r}: queue_limit is {queue_limit}.", "0 for no limit.")
    if ordered and queue_limit:
        raise DeclarationError(
            f"service {service!r}: what a bounded queue drops comes back later, out of order.",
            "ordered=True or queue_limit, not both.",
        )
    if replicas not in REPLICAS:
        raise DeclarationError(f"service {service!r}: replicas={replicas!r}.", f"one of {', '.join(REPLICAS)}.")
    if replicas == "every" and (ordered or queue_limit or from_start):
        raise DeclarationError(
            f"service {service!r}: a queue that goes with its process is not ordered, nor bounded, and begins there.",
            "replicas='every' alone.",
        )
    return Subscription(service, ordered, queue_limit, cast("Replicas", replicas))


def _database(service: str, database: object) -> Any:
    if database is not None and not callable(database):
        raise DeclarationError(
            f"service {service!r}: its database is {shown(database)}, which cannot be called.",
            "database=partial(SqlAlchemyDatabase, engine): it is made anew for each who opens it.",
        )
    return database


def _remember(service: str, wanted: timedelta | None) -> timedelta | None:
    if wanted is not None:
        check_duration(f"service {service!r}", "remember", wanted)
    if wanted is not None and wanted < SHORTEST_MEMORY:
        raise DeclarationError(
            f"service {service!r} forgets facts while they may still be on their way.", "remember=timedelta(days=30)."
        )
    return wanted


def memory_for(service: Service, settings: Settings, log: FactLog | None = None) -> timedelta:
    """How long a subscriber knows what it has handled; where nobody says, a day longer than the fact log knows it."""
    memory = settings.over(service.settings).remember or service.remember
    if memory and log and memory < log.max_age:
        raise DeclarationError(
            f"service {service.name!r} forgets facts that are still in the fact log.",
            "a `remember` longer than the log's max_age.",
        )
    return memory or (log or FactLog()).max_age + timedelta(days=1)


def _declared(service: str, what: str, messages: object, wanted: type[Message]) -> tuple[Any, ...]:
    members = listed(f"service {service!r}: {what}", messages)
    for member in members:
        if not is_a(member, wanted):
            raise DeclarationError(
                f"service {service!r}: {what} holds {shown(member)}, which is no {wanted.__name__}.",
                f"name classes that are derived from choros.{wanted.__name__}.",
            )
    return members


def _published(where: str, publishes: object) -> tuple[type[Fact], ...]:
    """The facts that a service or handler is declared to publish; raises DeclarationError."""
    kinds = (publishes,) if isinstance(publishes, type) else listed(f"{where}: publishes", publishes)
    for kind in kinds:
        if not is_a(kind, Fact):
            raise DeclarationError(
                f"{where} publishes {shown(kind)}, which is no Fact.",
                "name classes that are derived from choros.Fact.",
            )
    return tuple(kinds)


def _check_message(service: str, decorator: str, message: object, wanted: type[Message]) -> None:
    """A decorator without parentheses is given its function in the place of a message type."""
    if not is_a(message, wanted):
        given = "nothing" if message is None else shown(message)
        raise DeclarationError(
            f"service {service!r}: {decorator} is given {given}, which is no {wanted.__name__}.",
            f"write @{service}.{decorator}(Some{wanted.__name__}) above an async def, with a class of your own.",
        )


def _check_preparation(service: str, function: Callable[..., Any]) -> None:
    """It is called with a transaction and nothing else."""
    check_async(service, function)
    where = f"service {service!r}: {function.__name__}"
    try:
        given = inspect.signature(function).bind(None)
    except TypeError:
        given = None
    hints = hints_of(function, where)
    wrong = [hint for hint in map(hints.get, given.arguments if given else ()) if not _may_be_transaction(hint)]
    if given is None or wrong:
        raise DeclarationError(
            f"{where} prepares the service, so it is called with a Transaction and nothing else.",
            f"write async def {function.__name__}(db: SqliteTransaction) -> None, or another Transaction.",
        )


def _may_be_transaction(hint: object) -> bool:
    return not isinstance(hint, type) or issubclass(hint, Transaction) or is_session(hint) or hint is object
