"""A service: the commands that it carries out, and the facts that it reacts to."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_type_hints

from choros.errors import DeclarationError
from choros.messages import Command, Fact, Message
from choros.names import RESERVED_NAMES, valid_name
from choros.store.barrier import Transaction

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
P = TypeVar("P", bound=Callable[[Any], Awaitable[Any]])


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler may know about its call besides the message."""

    key: str
    """The idempotency key: the same on every retry. Give it to a provider as its own."""
    correlation_id: str
    """The saga's id."""
    saga: str = ""
    step: str = ""
    attempt: int = 1
    not_after: float | None = None
    """The deadline, in seconds since the epoch; None for none."""
    message_id: str = ""
    traceparent: str = ""


Argument = Literal["message", "transaction", "call"]


@dataclass(frozen=True, slots=True)
class Handler:
    """A function of a service, with what it asks for by naming it."""

    message: type[Message]
    function: Callable[..., Awaitable[Any]]
    arguments: Mapping[str, Argument]
    transaction: type[Transaction] | None = None
    """The transaction that it asks for, if any."""
    provider: bool = False
    """Whether its effect lies outside the service's database."""
    ask: Handler | None = None
    """For a provider: finds out what became of a call under the same key."""

    async def __call__(self, message: Message, transaction: Transaction | None, call: Call) -> Any:
        given = {"message": message, "transaction": transaction, "call": call}
        return await self.function(**{name: given[argument] for name, argument in self.arguments.items()})


class Service:
    """A participant, a subscriber, or both, under one name.

    `commands` and `facts` say what the service deals with where its handlers are elsewhere, in a process of their
    own; `choros check` reads them.
    """

    def __init__(self, name: str, *, commands: Iterable[type[Command[Any]]] = (), facts: Iterable[type[Fact]] = ()):
        if not valid_name(name) or name in RESERVED_NAMES:
            raise DeclarationError(
                f"{name!r} is no name for a service.",
                f"use lower-case words joined by '-' or '_', none of {', '.join(sorted(RESERVED_NAMES))}.",
            )
        self.name = name
        self._commands = tuple(commands)
        self._facts = tuple(facts)
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
    def facts(self) -> tuple[type[Fact], ...]:
        """The facts that it reacts to."""
        handled: list[Any] = [handler.message for handler in self.reactions.values()]
        return tuple(dict.fromkeys([*self._facts, *handled]))

    def handles(self, command: type[Command[Any]]) -> Callable[[F], F]:
        """Register the handler of a command whose effect is in the service's own database.

        The handler returns the reply, or raises `Refused`; any other exception is retried by the saga. It names what
        it takes: the command, a `Transaction`, the `Call`."""

        def register(function: F) -> F:
            self._add(self.handlers, _handler(self.name, command, Command, function))
            return function

        return register

    def provider(
        self, command: type[Command[Any]], *, ask: Callable[..., Awaitable[Any]] | None = None
    ) -> Callable[[F], F]:
        """Register the handler of a command whose effect lies outside the service's database, such as a bank's.

        It must pass `call.key` on as idempotency key: after a crash it is called again under the same key. `ask`
        finds out what became of an earlier call instead: it returns the reply, raises `Refused`, or returns None
        where the provider has never seen the key."""

        def register(function: F) -> F:
            asking = _handler(self.name, command, Command, ask, provider=True) if ask else None
            self._add(self.handlers, _handler(self.name, command, Command, function, provider=True, ask=asking))
            return function

        return register

    def on(self, *facts: type[Fact]) -> Callable[[F], F]:
        """Register a reaction to facts. Nobody waits for it. Handled exactly once where it writes through the
        `Transaction` that it names, at least once otherwise."""

        def register(function: F) -> F:
            for fact in facts:
                self._add(self.reactions, _handler(self.name, fact, Fact, function))
            return function

        return register

    def prepares(self, function: P) -> P:
        """Register what must be there before the first message, such as tables: an async function of a `Transaction`.
        It runs at every start, in a transaction of its own, so it must be repeatable."""
        self.preparations.append(function)
        return function

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


@dataclass(slots=True)
class _Reading:
    service: str
    function: str
    arguments: dict[str, Argument] = field(default_factory=dict)
    transaction: type[Transaction] | None = None

    def read(self, name: str, hint: Any, message: type[Message]) -> None:
        kind = hint if isinstance(hint, type) else None
        if kind is not None and issubclass(kind, Transaction):
            self.arguments[name], self.transaction = "transaction", kind
        elif kind is Call:
            self.arguments[name] = "call"
        elif hint is message or message in getattr(hint, "__args__", ()) or (kind and issubclass(message, kind)):
            self.arguments[name] = "message"
        else:
            raise DeclarationError(
                f"service {self.service!r}: {self.function} takes {name!r}, which is neither {message.__name__},"
                " a Transaction nor a Call.",
                "annotate its parameters with what they are.",
            )


def _is_a(value: object, wanted: type[Message]) -> bool:
    return isinstance(value, type) and issubclass(value, wanted)


def _handler(
    service: str,
    message: type[Message],
    wanted: type[Message],
    function: Callable[..., Awaitable[Any]],
    *,
    provider: bool = False,
    ask: Handler | None = None,
) -> Handler:
    name = getattr(function, "__name__", repr(function))
    if not _is_a(message, wanted):
        raise DeclarationError(f"service {service!r}: {name} is registered for {message!r}, no {wanted.__name__}.")
    if not inspect.iscoroutinefunction(function):
        raise DeclarationError(f"service {service!r}: {name} is not async.", "write async def.")
    hints = get_type_hints(function)
    reading = _Reading(service, name)
    for parameter in inspect.signature(function).parameters:
        reading.read(parameter, hints.get(parameter), message)
    if provider and reading.transaction:
        raise DeclarationError(
            f"service {service!r}: {name} is a provider's handler, so no transaction is open while it runs.",
            "take the Call and use its key, or register it with handles().",
        )
    return Handler(message, function, reading.arguments, reading.transaction, provider, ask)
