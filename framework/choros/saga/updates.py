"""Updates as they are declared: `Saga(updates=(change_address,))`, where the function takes the update and what is
known by then, and builds the reply, or raises Refused."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from choros.errors import DeclarationError
from choros.messages import Update
from choros.saga.builders import result_builder
from choros.saga.checks import check_function, is_a, listed
from choros.saga.outline import SagaPart
from choros.saga.parameters import DeclaredUpdate, Known, PureFunction, bare_name, shown_type, signature_of

Answering = Callable[..., Any]


def asked_by(saga: str, functions: object) -> Sequence[tuple[Answering, type[Update[Any]]]]:
    """Each of these functions with the update that it answers; raises DeclarationError."""
    found: dict[str, tuple[Answering, type[Update[Any]]]] = {}
    for function in listed(f"saga {saga!r}: updates", functions):
        update = _answered_by(saga, function)
        if other := found.get(bare_name(update)):
            raise DeclarationError(
                f"saga {saga!r}: {other[0].__name__} and {function.__name__} both answer {update.__name__}.",
                "leave one of them out.",
            )
        found[bare_name(update)] = function, update
    return list(found.values())


def _answered_by(saga: str, function: Answering) -> type[Update[Any]]:
    check_function(saga, function, "a Reply")
    parameters, returned = signature_of(function, saga)
    updates = [kind for kind in parameters.values() if is_a(kind, Update)]
    if len(updates) != 1:
        many = ", ".join(kind.__name__ for kind in updates) or "no update"
        raise DeclarationError(
            f"saga {saga!r}: {function.__name__} answers {many}.",
            "let it take one, which it answers, as the type itself; of another perhaps: ThatUpdate | None.",
        )
    update: type[Update[Any]] = updates[0]
    if returned is not update.reply_type:
        raise DeclarationError(
            f"saga {saga!r}: {function.__name__} returns {shown_type(returned)}, but {update.__name__} is answered with"
            f" {update.reply_type.__name__}.",
            f"let it return {update.reply_type.__name__}, or declare {update.__name__} with another reply.",
        )
    return update


def planned_update(
    function: Answering,
    update: type[Update[Any]],
    known: Known,
    parts: Iterable[SagaPart],
    closings: Iterable[PureFunction],
) -> DeclaredUpdate:
    """It may ask for what is `known` at any time; raises DeclarationError where nothing of the saga asks for it."""
    answer = result_builder(function, replace(known, asked=update))
    users = tuple(dict.fromkeys(part.path.partition("[]")[0] for part in parts if _any_asks(part.functions, update)))
    closing = _any_asks(closings, update)
    if not (users or closing):
        raise DeclarationError(
            f"saga {known.saga!r}: {function.__name__} answers {update.__name__}, which no function of it asks for.",
            f"take it where it counts: change: {update.__name__} | None.",
        )
    return DeclaredUpdate(answer.function, answer.needs, answer.builds, update=update, users=users, closing=closing)


def _any_asks(functions: Iterable[PureFunction], update: type[Update[Any]]) -> bool:
    return any(need.source == "update" and need.message is update for one in functions for need in one.needs)


def at_any_time(known: Known, parts: Iterable[SagaPart]) -> Known:
    """What may be known of a saga at any time, of what is known before it has begun: of its replies none is sure."""
    for part in parts:
        known = part.after(known)
    unsure = tuple(replace(choice, optional=True) for choice in known.choices)
    return replace(known, replies=(), maybe=(*known.replies, *known.maybe), choices=unsure)
