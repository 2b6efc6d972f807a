"""What a handler promises by its signature, held against what it is declared for; raises DeclarationError."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from choros.callables import annotations_of, is_async
from choros.errors import DeclarationError
from choros.messages import Command, Fact, Message, Reply


def check_return(where: str, command: type[Command[Any]], returned: object) -> None:
    """An annotation that is there must not promise another reply than the command's."""
    replies = [hint for hint in (returned, *get_args(returned)) if _is_a(hint, Reply)]
    if replies and not any(issubclass(command.reply_type, reply) for reply in replies):
        raise DeclarationError(
            f"{where} returns {replies[0].__name__}, but {command.__name__} is answered with"
            f" {command.reply_type.__name__}.",
            f"return {command.reply_type.__name__}, or declare {command.__name__}(Command[{replies[0].__name__}]).",
        )


def check_outbox(where: str, transaction: type | None) -> None:
    """Without its transaction, what it hands over would leave by itself."""
    if transaction is None:
        raise DeclarationError(
            f"{where} takes an Outbox, but no Transaction, so nothing could leave together with its effect.",
            "take the Transaction too, and write the effect through it.",
        )


def check_undo(where: str, message: type[Message], transaction: type | None) -> None:
    """Whether there is work to be taken back, and an occasion for it."""
    if transaction is None:
        raise DeclarationError(
            f"{where} takes a LocalUndo, but no Transaction, so nothing could be taken back together with the refusal.",
            "take the Transaction too, and write through it.",
        )
    if not (issubclass(message, Command) and message.refusals):
        raise DeclarationError(
            f"{where} takes a LocalUndo, but {message.__name__} cannot be refused, so it would never be used.",
            "declare the refusals of the command, or leave the LocalUndo out.",
        )


def check_published(where: str, publishes: Sequence[type[Fact]], transaction: type | None) -> None:
    """Without its transaction, a fact could leave of what never was, or never leave of what was."""
    if publishes and transaction is None:
        raise DeclarationError(
            f"{where} publishes {publishes[0].__name__}, but takes no Transaction: effect and fact could not be one.",
            "take a Transaction, and write the effect through it.",
        )


def check_returned(where: str, publishes: Sequence[type[Fact]], returned: object) -> None:
    """A reaction returns the fact that it publishes: what it announces to return must be declared."""
    for kind in (returned, *get_args(returned)):
        if _is_a(kind, Fact) and kind not in publishes:
            raise DeclarationError(
                f"{where} returns {kind.__name__}, which it is not declared to publish.",
                f"on(..., publishes=({', '.join(one.__name__ for one in (*publishes, kind))},)).",
            )


def check_gives_up(where: str, function: object, publishes: Sequence[type[Fact]], *, undoes: bool) -> None:
    """What is said at last is one of the facts that may be published; an undo is never given up."""
    if function is None:
        return
    if undoes:
        raise DeclarationError(
            f"{where} takes something back, and gives_up.", "leave that out: a person is waited for."
        )
    if not callable(function) or is_async(function) or said_at_last(function) not in publishes:
        hint = f"a function, not async, that is annotated to return {publishes[0].__name__ if publishes else 'a Fact'}."
        raise DeclarationError(f"{where}: gives_up makes none of the facts that it publishes.", hint)


def said_at_last(function: Any) -> Any:
    """The type of fact that it makes."""
    return annotations_of(function, "gives_up").get("return") if function is not None else None


def may_return_nothing(returned: object) -> bool:
    """Whether a reaction may publish nothing: where it says so, or says nothing of what it returns."""
    return returned is None or returned is type(None) or type(None) in get_args(returned)


def _is_a(hint: object, kind: type[Message]) -> bool:
    return isinstance(hint, type) and issubclass(hint, kind)
