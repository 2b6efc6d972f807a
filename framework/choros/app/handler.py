"""A handler: a function of a service, with what it asks for by naming it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

from choros.app.blocking import Awaiting, Run, in_turns
from choros.app.hearing import Batch, Rate, Where, is_list_of, where_of
from choros.app.joining import AllOf, AnyJoin, Undone, facts_of, is_effect
from choros.app.later import Later
from choros.app.outbox import Outbox
from choros.app.promises import (
    check_gives_up,
    check_outbox,
    check_published,
    check_return,
    check_returned,
    check_undo,
    may_return_nothing,
)
from choros.app.resources import NO_RESOURCES, Resources, may_be_resource
from choros.app.sessions import blocks, is_session
from choros.app.settings import NOTHING_SET, Settings
from choros.callables import annotations_of, check_called, is_async, name_of, parameters_of, positional_only
from choros.errors import DeclarationError, Refused
from choros.messages import Command, Fact, Message
from choros.saga.checks import shown
from choros.store.barrier import Transaction
from choros.store.blocking import BlockingTransaction
from choros.store.local_undo import LocalUndo
from choros.transport.topology import Subscription
from choros.values import quickly_made, replace
from choros.wire.own_headers import Headers


@quickly_made
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
    token: str = ""
    """Of an undo whose command was taken, and not finished: the token that it was taken under (`Later`)."""
    stands: bool = True
    """Of a reaction that takes back: whether there is something to take back. One that publishes is called without,
    too."""
    message_id: str = ""
    traceparent: str = ""
    headers: Headers = field(default_factory=dict)
    """Those of the user's own: of the start of the saga, or of what the fact was published about."""


_ON_THE_LOOP = {"undo": "a LocalUndo", "outbox": "an Outbox", "session": "a session"}
Argument = Literal["message", "transaction", "session", "call", "undo", "outbox"]


@dataclass(frozen=True, slots=True)
class Handler:
    """A function of a service, with what it asks for by naming it."""

    message: type[Message]
    function: Callable[..., Any]
    arguments: Mapping[str, Argument]
    transaction: type[Transaction] | None = None
    """The transaction that it asks for, if any: any one, where it asks for a session."""
    provider: bool = False
    """Whether its effect lies outside the service's database."""
    ask: Handler | None = None
    """For a provider: finds out what became of a call under the same key."""
    cancel: Handler | None = None
    """For a provider: has it refuse the key from now on."""
    undoes: type[Fact] | tuple[type[Fact], ...] | str | None = None
    """For a reaction: what it takes back: what is done about a fact, or about several, or by its name."""
    later: bool = False
    """Whether what it returns says that it may be finished later."""
    publishes: tuple[type[Fact], ...] = ()
    """The facts that it may publish."""
    silent: bool = True
    """For a reaction: whether it may publish none of them."""
    settings: Settings = NOTHING_SET
    """What is set for its calls alone: `concurrency` and `handler_time`."""
    session: type | None = None
    """What it takes of its transaction, such as SQLAlchemy's `AsyncSession`."""
    where: Where | None = None
    """For a reaction: which facts it wants; None for all."""
    rate: Rate | None = None
    """For a reaction: how often it is called at most."""
    gives_up: Callable[..., Fact] | None = None
    """For a reaction: what it says in place of what it does, once it was tried for the last time."""
    effect: str = ""
    """For a reaction: what it does, by the name that its rows have; empty where that is its fact's."""
    join: tuple[type[Fact], ...] = ()
    """For a reaction: the several facts that it waits for."""
    joined: Mapping[str, type[Message]] = field(default_factory=dict)
    """Which of them each of its arguments is."""
    batch: Batch | None = None
    """For a reaction: that it takes a list of facts, and how many."""
    positional: tuple[str, ...] = ()
    """Those of its arguments that cannot be given by name."""
    resources: Mapping[str, Any] = field(default_factory=dict)
    """What else it asks for, each by the type that a lifespan of its service makes."""
    blocking: type[BlockingTransaction] | None = None
    """Of one that is no coroutine: as what it takes its transaction, if it takes one."""

    @property
    def asks_for(self) -> Collection[Any]:
        """The types of its resources."""
        return self.resources.values()

    @property
    def does(self) -> str:
        """What it does, by name."""
        return self.effect or self.message.type_name

    @property
    def name(self) -> str:
        """As its author calls it."""
        return name_of(self.function)

    @property
    def leaves(self) -> bool:
        """Whether something may leave with its transaction."""
        return bool(self.publishes) or "outbox" in self.arguments.values()

    def settling(self, *, wanted: bool) -> Sequence[Handler]:
        """Whom to call to settle an earlier call, one after the other until one of them knows. That its provider knows
        nothing of it is no answer: what hangs on its way may still land. So it is called once more under its key; or
        that is cancelled, where nobody wants it any more and it can be."""
        last = self if wanted or self.cancel is None else self.cancel
        return (self.ask, last) if self.ask else (last,)

    async def __call__(
        self,
        message: Message | Sequence[Message],
        transaction: Transaction | None,
        call: Call,
        outbox: Outbox | None = None,
        resources: Resources = NO_RESOURCES,
        run: Run = in_turns,
    ) -> Any:
        """What it comes to; where it is no coroutine, it is called by `run`."""
        undo = transaction.local_undo if transaction is not None else None
        session = transaction.given(self.session) if transaction is not None and self.session is not None else None
        given = {
            "message": message, "transaction": transaction, "session": session, "call": call, "undo": undo,
            "outbox": outbox,
        }  # fmt: skip
        try:
            if self.blocking is None:
                return await self._called(given, resources)
            return await run(partial(self._in_thread, self.blocking, given, resources))
        except (Refused, BaseExceptionGroup) as raised:
            refused = refusal_in(raised)
            if refused is not None and undo is not None:
                await undo.take_back()
            raise refused or raised from raised.__cause__

    def _called(self, given: Mapping[str, Any], resources: Resources) -> Any:
        by_name = {name: given[argument] for name, argument in self.arguments.items()}
        for name, kind in self.joined.items():
            by_name[name] = next(one for one in given["message"] if type(one) is kind)
        if self.resources:
            by_name |= {name: resources[kind] for name, kind in self.resources.items()}
        by_place = [by_name.pop(name) for name in self.positional] if self.positional else ()
        return self.function(*by_place, **by_name)

    def _in_thread(
        self, face: type[BlockingTransaction], given: Mapping[str, Any], resources: Resources, wait: Awaiting
    ) -> Any:
        return self._called({**given, "transaction": face(given["transaction"], wait)}, resources)


def refusal_in(raised: BaseException) -> Refused | None:
    """The refusal that this is, or that all of it are: tasks that are awaited together raise theirs in a group. With
    anything else among them, nobody knows what was done."""
    if isinstance(raised, BaseExceptionGroup):
        found = [refusal_in(one) for one in raised.exceptions]
        return found[0] if all(found) else None
    return raised if isinstance(raised, Refused) else None


def handler_of(
    service: str, message: type[Message], function: Callable[..., Any], settings: Settings,
    *, provider: bool = False, ask: Handler | None = None, cancel: Handler | None = None,
    publishes: tuple[type[Fact], ...] = (), join: tuple[type[Fact], ...] = (),
) -> Handler:  # fmt: skip
    """What the service calls for such a message; raises DeclarationError where the function asks for what there is not,
    or promises another reply."""
    check_called(f"service {service!r}: {shown(function)}", function)
    where = f"service {service!r}: {name_of(function)}"
    hints, parameters = annotations_of(function, where), parameters_of(function, where)
    given = {one.name: hints.get(one.name) for one in parameters}
    resources = {name: hint for name, hint in given.items() if _is_resource(hint, message)}
    taken = join or (message,)
    arguments = {name: _argument(where, name, given[name], taken) for name in given if name not in resources}
    if issubclass(message, Command):
        check_return(where, message, hints.get("return"))
    transaction, session = (_asked(what, arguments, given) for what in ("transaction", "session"))
    blocking = None if is_async(function) else _blocking(where, transaction)
    transaction = _of(where, transaction, blocking) or (Transaction if session else None)
    _check_on_the_loop(where, arguments.values(), blocking, session)
    if "undo" in arguments.values():
        check_undo(where, message, transaction)
    if provider and transaction:
        raise DeclarationError(
            f"{where} is a provider's handler, so no transaction is open while it runs.",
            "take the Call and use its key, or register it with handles().",
        )
    check_published(where, publishes, transaction)
    returned = hints.get("return")
    if "outbox" in arguments.values():
        check_outbox(where, transaction)
    if issubclass(message, Fact):
        check_returned(where, publishes, returned)
    later = Later in (returned, *get_args(returned))
    return Handler(
        message, function, arguments, transaction, provider, ask, cancel, None, later, publishes,
        may_return_nothing(returned), settings, session, positional=positional_only(parameters), resources=resources,
        blocking=blocking, join=join,
    )  # fmt: skip


def _is_resource(hint: Any, message: type[Message]) -> bool:
    return may_be_resource(hint) and not is_session(hint) and not is_list_of(hint, message)


def _asked(what: Argument, arguments: Mapping[str, Argument], given: Mapping[str, Any]) -> Any:
    """The type of the first parameter that is given this; None where none is."""
    return next((given[name] for name, argument in arguments.items() if argument == what), None)


def _argument(where: str, name: str, hint: Any, messages: Sequence[type[Message]]) -> Argument:
    """What a parameter is given. It may take such messages among others; `object` says nothing of what it takes."""
    kind = hint if isinstance(hint, type) else None
    if kind and issubclass(kind, Transaction | BlockingTransaction):
        return "transaction"
    if is_session(kind):
        return "session"
    if kind is Call:
        return "call"
    if kind is LocalUndo:
        return "undo"
    if kind is Outbox:
        return "outbox"
    if any(takes(hint, message) for message in messages):
        return "message"
    kinds = ", ".join(message.__name__ for message in messages)
    raise DeclarationError(
        f"{where} takes {name!r}, which is neither {kinds}, a Transaction, a session, a LocalUndo,"
        " an Outbox nor a Call.",
        "annotate its parameters with what they are; what a lifespan makes, with a class of its own.",
    )


def takes(hint: Any, message: type[Message]) -> bool:
    """Whether a parameter with this annotation takes such messages, maybe among others."""
    kind = hint if isinstance(hint, type) else None
    named = message in get_args(hint) or bool(kind and issubclass(kind, Message) and issubclass(message, kind))
    return named or is_list_of(hint, message)


def _blocking(where: str, taken: Any) -> type[BlockingTransaction]:
    """As what a handler that is no coroutine takes its transaction."""
    if taken is None or issubclass(taken, BlockingTransaction):
        return taken or BlockingTransaction
    raise DeclarationError(
        f"{where} is not async and takes a {taken.__name__}, whose methods are.",
        f"write async def, or take a Blocking{taken.__name__}.",
    )


def _of(where: str, taken: Any, blocking: type[BlockingTransaction] | None) -> type[Transaction] | None:
    """The transaction that it asks for."""
    if taken is not None and blocking is None and issubclass(taken, BlockingTransaction):
        hint = f"write def, or take a {(taken.of or Transaction).__name__}."
        raise DeclarationError(f"{where} is async and takes a {taken.__name__}, which would block the loop.", hint)
    return taken if taken is None or blocking is None else blocking.of or Transaction


def _check_on_the_loop(
    where: str, arguments: Collection[Argument], blocking: type[BlockingTransaction] | None, session: type | None
) -> None:
    """What works on the loop, a handler in a thread cannot use; nor one on the loop what blocks."""
    if blocking is None and session is not None and blocks(session):
        hint = f"write def, or take an Async{session.__name__}."
        raise DeclarationError(f"{where} is async and takes a {session.__name__}, which would block the loop.", hint)
    on_the_loop = (one for one in arguments if one in _ON_THE_LOOP and not (one == "session" and blocks(session)))
    name = next((_ON_THE_LOOP[one] for one in on_the_loop), "")
    if blocking is not None and name:
        raise DeclarationError(f"{where} takes {name}, which works on the loop, and is not async.", "write async def.")


# --- reactions ---


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was said where it was registered."""

    settings: Settings
    undoes: Undone | None = None
    where: Mapping[str, Any] | None = None
    at_most: Rate | None = None
    batch: Batch | None = None
    publishes: tuple[type[Fact], ...] = ()
    effect: str = ""
    join: AnyJoin | None = None
    gives_up: Callable[..., Fact] | None = None


def reaction_of(
    service: str, fact: type[Fact], function: Callable[..., Any], wanted: Wanted, subscription: Subscription
) -> Handler:
    """What a subscriber calls for such a fact; raises DeclarationError."""
    handler = handler_of(
        service, fact, function, wanted.settings, publishes=wanted.publishes, join=facts_of(wanted.join)
    )
    where = f"service {service!r}: {handler.name}"
    undone = wanted.undoes.facts if isinstance(wanted.undoes, AllOf) else wanted.undoes
    effect, joined = _effect_of(where, wanted), _joined(where, handler, wanted.join)
    check_gives_up(where, wanted.gives_up, wanted.publishes, undoes=wanted.undoes is not None)
    handler = replace(handler, undoes=undone, effect=effect, joined=joined, gives_up=wanted.gives_up)
    if wanted.at_most is not None and not isinstance(wanted.at_most, Rate):
        raise DeclarationError(f"{where}: at_most={wanted.at_most!r} is no Rate.", "at_most=Rate(100).")
    if wanted.batch is not None and not isinstance(wanted.batch, Batch):
        raise DeclarationError(f"{where}: batch={wanted.batch!r} is no Batch.", "batch=Batch(100).")
    batch = _batch_of(where, handler, wanted.batch)
    if batch and subscription.ordered:
        raise DeclarationError(
            f"{where} takes a list, and its service wants the facts of a stream one after the other.",
            "leave ordered=True out, or take one fact at a time.",
        )
    if handler.transaction is not None and subscription.replicas == "every":
        raise DeclarationError(
            f"{where} takes a {handler.transaction.__name__}, and each process of its service hears every fact: all of"
            " them would write it.",
            "keep it in the process, or leave replicas='every' out.",
        )
    which = None if wanted.where is None else where_of(where, fact, wanted.where)
    return replace(handler, where=which, rate=wanted.at_most, batch=batch)


def _effect_of(where: str, wanted: Wanted) -> str:
    """What it does, by name; empty where nobody gives it one, and it is known by its fact."""
    if wanted.effect and not is_effect(wanted.effect):
        raise DeclarationError(f"{where}: {wanted.effect!r} is no name for an effect.", "effect='charge': lower case.")
    return wanted.effect or (wanted.join.name if wanted.join else "")


def _joined(where: str, handler: Handler, join: AnyJoin | None) -> Mapping[str, type[Fact]]:
    """Which of several facts each argument is; raises DeclarationError."""
    if join is None:
        return {}
    if handler.transaction is None:
        raise DeclarationError(
            f"{where} waits for {join}, but takes no Transaction: what has come is kept in its database.",
            "take a Transaction, and write the effect through it.",
        )
    hints = annotations_of(handler.function, where)
    found: dict[str, type[Fact]] = {}
    for name in (name for name, given in handler.arguments.items() if given == "message"):
        meant = [fact for fact in join.facts if takes(hints[name], fact)]
        if len(meant) > 1 or is_list_of(hints[name], meant[0]):
            raise DeclarationError(
                f"{where} takes {name!r}, which is not one of {join}.", f"one fact each: {name}: {meant[0].__name__}."
            )
        found[name] = meant[0]
    return found


def _batch_of(where: str, handler: Handler, wanted: Batch | None) -> Batch | None:
    """That its message is a list says that it takes several facts; how many may be left out."""
    hints, fact = annotations_of(handler.function, where), handler.message
    messages = [name for name, given in handler.arguments.items() if given == "message"]
    if any(is_list_of(hints.get(name), fact) for name in messages):
        if handler.publishes or {"call", "outbox"}.intersection(handler.arguments.values()):
            raise DeclarationError(
                f"{where} takes a list of facts; a Call, and what is published, is about one.",
                "leave them out, or take one fact at a time.",
            )
        return wanted or Batch()
    if wanted is not None:
        parameter = next((one.name for one in parameters_of(handler.function, where)), "facts")
        raise DeclarationError(
            f"{where} has a batch=, and takes one fact.", f"annotate it: {parameter}: list[{fact.__name__}]."
        )
    return None
