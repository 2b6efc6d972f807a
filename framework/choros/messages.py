"""The messages a user declares: commands and their replies, facts; and the failure that a saga ends with.

Each has a stable type name with a version, taken from the class name (`ChargePayment` is `charge-payment.v1`)
or given: `class ChargePayment(Command[PaymentCharged], name="shop.payment.charge", version=2)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import copy_context
from functools import cache, partial
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, Unpack, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import from_json

from choros.errors import EXITS, DeclarationError, MessageRejected, MessageUnwritable
from choros.fidelity.comparison import first_difference
from choros.fidelity.exactness import read_exactly
from choros.fidelity.schema import Fidelity, judge

_NAME = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_CODE = re.compile(r"[a-z][a-z0-9_]*")
LONGEST_TYPE = 255
"""Bytes of a type name: it is the routing key of a fact."""
_HINT = "what a message may hold stands in the guide."
M = TypeVar("M", bound="Message")


def fidelity_of(message: type[Message]) -> Fidelity:
    """Whether what it writes is what it reads; raises DeclarationError where that can never be."""
    if message._fidelity is not None:
        return message._fidelity
    found = judge(message.__pydantic_core_schema__, first_difference)
    for fault in found.faults:
        raise DeclarationError(f"Message {message.__name__}: {fault.place or 'it'} {fault.what}.", fault.hint)
    if message.model_dump_json is not BaseModel.model_dump_json:
        found.doubtful = True
    message._fidelity = found
    return found


def _check_field_names(message: type[Message]) -> None:
    """A field hides what the class has under the same name, and choros reads that."""
    ours = [base for base in message.__mro__ if base.__module__ == __name__]
    for name in (*message.model_fields, *message.__private_attributes__):
        if any(name in vars(base) for base in ours) or (name.startswith("model_") and hasattr(BaseModel, name)):
            raise DeclarationError(
                f"Message {message.__name__}: its field {name!r} hides what choros knows its class by.",
                f"call it otherwise, such as {name.strip('_')}_given.",
            )


class Message(BaseModel):
    """An immutable message with a stable type name. Wire data is read strictly: no coercion, no NaN."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )
    type_name: ClassVar[str] = ""
    _fidelity: ClassVar[Fidelity | None] = None
    """None until pydantic has made the schema, which waits for names that are not known yet."""

    def __init_subclass__(cls, *, name: str = "", version: int = 1, **config: Unpack[ConfigDict]) -> None:
        super().__init_subclass__(**config)
        cls.type_name = _type_name(cls.__name__, name, version)
        cls._fidelity = None

    @classmethod
    def __pydantic_on_complete__(cls) -> None:
        """Refuse a class whose messages can never be read as they were; called by pydantic."""
        super().__pydantic_on_complete__()
        _check_field_names(cls)
        fidelity_of(cls)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; raises MessageUnwritable for changes that its fields do not take, which pydantic would not notice."""
        copy = super().model_copy(update=update, deep=deep)
        if update and not fidelity_of(type(self)).doubtful:  # else it is looked at when it is written
            _written(copy)
        return copy

    def to_json(self) -> str:
        """The message as JSON text that is read back as this message; raises MessageUnwritable, whatever its model
        raised."""
        try:
            return _directly(self) or copy_context().run(_written, self)
        except (*EXITS, MessageUnwritable):
            raise
        except BaseException as error:
            raise MessageUnwritable(f"A {self.type_name} cannot be written ({type(error).__name__}).") from error

    @classmethod
    def from_json(cls, data: str | bytes) -> Self:
        """Read the message strictly; raises MessageRejected, which names fields but never their values.

        A model's own validators may raise anything, not only what pydantic knows."""
        try:
            if (fidelity := cls._fidelity) is None or fidelity.decimals:
                return copy_context().run(_read, cls, data)
            return copy_context().run(cls.model_validate_json, data, strict=True)
        except EXITS:
            raise
        except BaseException as error:
            raise MessageRejected(f"The body is no {cls.type_name}: {_why(error)}.") from None


def _directly(message: Message) -> str:
    """What is written of a message that is sure to survive; empty where that has to be looked at. Nothing of a user's
    own runs here."""
    fidelity = type(message)._fidelity
    if fidelity is None or fidelity.doubtful:
        return ""
    body: str = message.__pydantic_serializer__.to_json(message).decode()
    return "" if fidelity.doubts(body) else body


def _written(message: Message) -> str:
    fidelity = fidelity_of(type(message))
    body = message.model_dump_json(warnings=False)
    _check_read(message, body, arrays=fidelity.arrays)
    return body


def _check_read(message: Message, body: str, *, arrays: bool) -> None:
    """Raises MessageUnwritable where the body is not read as the same message."""
    name = message.type_name
    try:
        from_json(body, allow_inf_nan=False)
        read = _read(type(message), body)
    except Exception as error:
        sentence = f"A {name} cannot be read back from what it is written as: {_why(error)}."
        raise MessageUnwritable(sentence, _HINT) from error
    place = first_difference(message, read, arrays)
    if place is not None:
        sentence = f"A {name} is read back with another {place[1:] or 'value'} than it is written with."
        raise MessageUnwritable(sentence, _HINT)


def _read(message: type[M], data: str | bytes) -> M:
    fidelity = message._fidelity or fidelity_of(message)
    if fidelity.decimals:
        return read_exactly(partial(message.model_validate_json, strict=True), data)
    return message.model_validate_json(data, strict=True)


def _type_name(class_name: str, name: str, version: int) -> str:
    stem = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", class_name).lower()
    if name and not _NAME.fullmatch(name):
        raise DeclarationError(
            f"Message type name {name!r} is not lower-case words joined by '.' or '-'.",
            "name it like shop.payment.charge.",
        )
    if isinstance(version, bool) or version < 1:
        raise DeclarationError(f"Message {class_name} has version {version}.", "count versions from 1.")
    whole = f"{stem}.v{version}"
    if len(whole.encode()) > LONGEST_TYPE:
        raise DeclarationError(
            f"The type name of message {class_name[:60]}... is longer than {LONGEST_TYPE} bytes.", "name='...'."
        )
    return whole


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
    """A participant's answer to a command that it carried out; or what it gives with a refusal."""


class Done(Reply, name="choros.done"):
    """The reply of a command that has nothing to tell."""


R_co = TypeVar("R_co", bound=Reply, covariant=True)


class Command(Message, Generic[R_co]):
    """An order to exactly one participant: `class ChargePayment(Command[PaymentCharged], refusals=("card_declined",))`.

    `refusals` lists every code that a participant may refuse it with; none means that it cannot be refused. Where more
    is to be said of one, a mapping gives its type: `refusals={"card_declined": CardDeclined, "closed": None}`. One that
    is derived from another command has the refusals of that, unless it says its own.
    """

    refusals: ClassVar[tuple[str, ...]] = ()
    refusal_data: ClassVar[Mapping[str, type[Reply]]] = {}
    """What is given with a refusal, by its code; only of codes that declare it."""
    reply_type: ClassVar[type[Reply]] = Done

    def __init_subclass__(
        cls,
        *,
        refusals: Iterable[str] | Mapping[str, type[Reply] | None] | None = None,
        name: str = "",
        version: int = 1,
        **config: Unpack[ConfigDict],
    ) -> None:
        super().__init_subclass__(name=name, version=version, **config)
        cls.reply_type = _reply_type(cls)
        if refusals is not None:  # else those of the command that it is derived from
            cls.refusals = _checked_refusals(cls.__name__, refusals)
            cls.refusal_data = _checked_data(cls, refusals) if isinstance(refusals, Mapping) else {}

    @classmethod
    def command_and_reply(cls) -> tuple[type[Self], type[R_co]]:
        """Its own type and that of its reply: by this, type checkers know a handler's."""
        return cls, cast("type[R_co]", cls.reply_type)


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


def _checked_data(cls: type[Command[Any]], refusals: Mapping[str, Any]) -> Mapping[str, type[Reply]]:
    for code, data in refusals.items():
        where, name = f"{cls.__name__}: refusal {code!r}", getattr(data, "__name__", data)
        if data is not None and (not isinstance(data, type) or not issubclass(data, Reply) or data in _NO_DATA):
            raise DeclarationError(f"{where} comes with {name}, which is no reply.", "derive one from choros.Reply.")
        if data is cls.reply_type:
            raise DeclarationError(f"{where} comes with {name}, its reply when it is carried out.", "use two types.")
    return {code: data for code, data in refusals.items() if data}


def _reply_type(cls: type[Command[Any] | Update[Any]]) -> type[Reply]:
    for base in cls.__mro__:
        metadata: dict[str, Any] = base.__dict__.get("__pydantic_generic_metadata__") or {}
        for argument in metadata.get("args") or get_args(base):
            if isinstance(argument, type) and issubclass(argument, Reply):
                return argument
    _check_argument(cls)
    return Done


def _check_argument(cls: type[Command[Any] | Update[Any]]) -> None:
    """What has no reply type is answered with Done; anything else in its place is a mistake."""
    for base in cls.__bases__:
        metadata: dict[str, Any] = base.__dict__.get("__pydantic_generic_metadata__") or {}
        for argument in metadata.get("args", ()):
            if metadata["origin"] in (Command, Update) and not isinstance(argument, TypeVar):
                what = argument.__name__ if isinstance(argument, type) else argument
                whose = metadata["origin"].__name__
                raise DeclarationError(
                    f"{cls.__name__} is {'an' if whose == 'Update' else 'a'} {whose}[{what}], which is no reply type.",
                    f"derive the reply from choros.Reply and declare it before, or write {whose}[Done].",
                )


SYSTEM_REFUSALS = ("expired", "cancelled")
"""Codes that choros itself refuses a command with: past its deadline; after its own undo or close."""
FORGOTTEN = "forgotten"
"""The code of a failure that no retry mends: its participant may have forgotten what became of so old a command."""


UNFINISHED = "unfinished"
"""The code of a failure that is none yet: its participant has taken the command, and it is finished from outside."""


class Fact(Message):
    """Something that has happened. Fields added by a newer publisher are ignored, so that subscribers keep working."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")


class Signal(Message):
    """What somebody outside tells a running saga, which waits for it: a person, a program, another service."""


class Update(Message, Generic[R_co]):
    """What somebody outside asks of a running saga, which answers it: `class ChangeAddress(Update[AddressChanged])`."""

    reply_type: ClassVar[type[Reply]] = Done

    def __init_subclass__(cls, *, name: str = "", version: int = 1, **config: Unpack[ConfigDict]) -> None:
        super().__init_subclass__(name=name, version=version, **config)
        cls.reply_type = _reply_type(cls)


class Failure(Reply, name="choros.failure"):
    """Why a step did not happen, or why a saga was undone."""

    code: str
    """A declared refusal, or one of choros's own: in_doubt, expired, cancelled, deadline, lapsed, or an
    exception's name."""
    detail: str = ""
    """More words from the participant; may hold business data, so it is never logged."""
    step: str = ""
    """The step that failed."""
    kind: Literal["refused", "failed", "in_doubt", "cancelled"] = "refused"
    """Definitely not done; failed but may be tried again; unknown; undone by request."""


class Refusal(Failure, name="choros.failure"):
    """The body of a refusal as it is on the wire: a Failure, and what is given with it."""

    data: Any = None


@cache
def refusal_with(data: type[Reply]) -> type[Refusal]:
    """The body of a refusal that is given with this."""
    wanted: Any = data | None
    return create_model("Refusal", __base__=Refusal, __cls_kwargs__={"name": "choros.failure"}, data=(wanted, None))


_NO_DATA = (Reply, Failure, Refusal)
"""Replies that say nothing of their own."""


class NothingToUndo(Reply, name="choros.nothing-to-undo"):
    """The answer to an undo whose command never had an effect."""


class LeftStanding(Reply, name="choros.left-standing"):
    """The answer of a nested saga to its undo, where it went on without some of its own."""

    steps: tuple[str, ...]
    """Those that were not undone."""


class Closed(Reply, name="choros.closed"):
    """The answer to a `close` that found no effect: from now on there never will be one."""


class Close(Command[Closed], name="choros.close"):
    """Asks a participant to settle a command key for good, before a person acts in its place."""

    of: Literal["do", "undo"]
    """Which of the two commands on the effect is closed."""


class NestedCommand(Message, name="choros.nested"):
    """What a saga commands one that is nested in it; which of all that, the operation in its key says."""

    saga: str
    version: int
    """Of the nested saga, where that has not begun yet."""
    start: str = ""
    """Of a `do`: the body of its start message."""
    detached: bool = False
    """Whether it ends by itself, and is answered once it has begun."""
    of: Literal["do", "undo"] = "do"
    """Of a `close`: which of the two it closes."""
    terminates: bool = False
    """Of a `close`: whether it ends as it is, as the one that it is nested in does."""


class NestedUnderLock(NestedCommand, name="choros.nested"):
    """The same from a saga that holds locks: what is nested in it has them from there."""

    locks: tuple[str, ...] = ()
