"""The messages a user declares: commands and their replies, facts; and the failure that a saga ends with.

Each has a stable type name with a version, taken from the class name (`ChargePayment` is `charge-payment.v1`)
or given: `class ChargePayment(Command[PaymentCharged], name="shop.payment.charge", version=2)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, Unpack, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from choros.errors import EXITS, DeclarationError, MessageRejected, MessageUnwritable

_NAME = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_CODE = re.compile(r"[a-z][a-z0-9_]*")


class Message(BaseModel):
    """An immutable message with a stable type name. Wire data is read strictly: no coercion, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
    type_name: ClassVar[str] = ""

    def __init_subclass__(cls, *, name: str = "", version: int = 1, **config: Unpack[ConfigDict]) -> None:
        super().__init_subclass__(**config)
        cls.type_name = _type_name(cls.__name__, name, version)

    def to_json(self) -> str:
        """The message as JSON text; raises MessageUnwritable, whatever its model raised."""
        try:
            return copy_context().run(self.model_dump_json)
        except EXITS:
            raise
        except BaseException as error:
            raise MessageUnwritable(f"A {self.type_name} cannot be written ({type(error).__name__}).") from error

    @classmethod
    def from_json(cls, data: str | bytes) -> Self:
        """Read the message strictly; raises MessageRejected, which names fields but never their values.

        A model's own validators may raise anything, not only what pydantic knows."""
        try:
            return copy_context().run(cls.model_validate_json, data, strict=True)
        except EXITS:
            raise
        except BaseException as error:
            raise MessageRejected(f"The body is no {cls.type_name}: {_why(error)}.") from None


def _type_name(class_name: str, name: str, version: int) -> str:
    stem = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", class_name).lower()
    if name and not _NAME.fullmatch(name):
        raise DeclarationError(
            f"Message type name {name!r} is not lower-case words joined by '.' or '-'.",
            "name it like shop.payment.charge.",
        )
    if version < 1:
        raise DeclarationError(f"Message {class_name} has version {version}.", "count versions from 1.")
    return f"{stem}.v{version}"


def _why(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        with suppress(Exception):  # its sentences may be a user's own
            return _faults(error)
    return f"its model raised {type(error).__name__}"


def _faults(error: ValidationError, most: int = 3) -> str:
    """Which rules failed. Field names are given only where they are ours: an unknown one may be anything."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [_place(fault["type"], fault["loc"]) + fault["type"] for fault in faults[:most]]
    return ", ".join(shown) + (f" and {len(faults) - most} more" if len(faults) > most else "")


def _place(rule: str, location: tuple[int | str, ...]) -> str:
    first = next(iter(location), "")
    return f"{first}: " if first and rule not in ("extra_forbidden", "json_invalid") else ""


class Reply(Message):
    """A participant's answer to a command that it carried out."""


class Done(Reply, name="choros.done"):
    """The reply of a command that has nothing to tell."""


R_co = TypeVar("R_co", bound=Reply, covariant=True)


class Command(Message, Generic[R_co]):
    """An order to exactly one participant: `class ChargePayment(Command[PaymentCharged], refusals=("card_declined",))`.

    `refusals` lists every code that a participant may refuse it with; none means that it cannot be refused.
    """

    refusals: ClassVar[tuple[str, ...]] = ()
    reply_type: ClassVar[type[Reply]] = Done

    def __init_subclass__(
        cls,
        *,
        refusals: Iterable[str] = (),
        name: str = "",
        version: int = 1,
        **config: Unpack[ConfigDict],
    ) -> None:
        super().__init_subclass__(name=name, version=version, **config)
        cls.refusals = _checked_refusals(cls.__name__, refusals)
        cls.reply_type = _reply_type(cls)


def _checked_refusals(class_name: str, refusals: Iterable[str]) -> tuple[str, ...]:
    if isinstance(refusals, str):
        raise DeclarationError(f"{class_name}: refusals is one string.", f"write refusals=({refusals!r},).")
    codes = tuple(refusals)
    for code in codes:
        if not _CODE.fullmatch(code):
            raise DeclarationError(f"{class_name}: refusal {code!r} is no code.", "write it in snake_case.")
        if code in SYSTEM_REFUSALS:
            raise DeclarationError(f"{class_name}: refusal {code!r} is choros's own.", "choose another code.")
    return codes


def _reply_type(cls: type[Command[Any]]) -> type[Reply]:
    for base in cls.__mro__:
        metadata: dict[str, Any] = base.__dict__.get("__pydantic_generic_metadata__") or {}
        for argument in metadata.get("args") or get_args(base):
            if isinstance(argument, type) and issubclass(argument, Reply):
                return argument
    _check_argument(cls)
    return Done


def _check_argument(cls: type[Command[Any]]) -> None:
    """A command without a reply type is answered with Done; one with anything else in its place is a mistake."""
    for base in cls.__bases__:
        metadata: dict[str, Any] = base.__dict__.get("__pydantic_generic_metadata__") or {}
        for argument in metadata.get("args", ()):
            if metadata["origin"] is Command and not isinstance(argument, TypeVar):
                what = argument.__name__ if isinstance(argument, type) else argument
                raise DeclarationError(
                    f"{cls.__name__} is a Command[{what}], which is no reply type.",
                    "derive the reply from choros.Reply and declare it before, or write Command[Done].",
                )


SYSTEM_REFUSALS = ("expired", "cancelled")
"""Codes that choros itself refuses a command with: past its deadline; after its own undo or close."""
FORGOTTEN = "forgotten"
"""The code of a failure that no retry mends: its participant may have forgotten what became of so old a command."""


class Fact(Message):
    """Something that has happened. Fields added by a newer publisher are ignored, so that subscribers keep working."""

    model_config = ConfigDict(extra="ignore")


class Failure(Reply, name="choros.failure"):
    """Why a step did not happen, or why a saga was undone."""

    code: str
    """A declared refusal, or one of choros's own: in_doubt, expired, cancelled, deadline, or an exception's name."""
    detail: str = ""
    """More words from the participant; may hold business data, so it is never logged."""
    step: str = ""
    """The step that failed."""
    kind: Literal["refused", "failed", "in_doubt", "cancelled"] = "refused"
    """Definitely not done; failed but may be tried again; unknown; undone by request."""


class NothingToUndo(Reply, name="choros.nothing-to-undo"):
    """The answer to an undo whose command never had an effect."""


class Closed(Reply, name="choros.closed"):
    """The answer to a `close` that found no effect: from now on there never will be one."""


class Close(Command[Closed], name="choros.close"):
    """Asks a participant to settle a command key for good, before a person acts in its place."""

    of: Literal["do", "undo"]
    """Which of the two commands on the effect is closed."""
