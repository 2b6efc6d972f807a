"""Which messages a step's function needs, read from its signature: by type, or by step name where types are shared."""

import inspect
import types
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any, Literal, Union, get_args, get_origin

from choros.callables import hints_of
from choros.errors import DeclarationError
from choros.messages import Command, Failure, Message, Reply, Signal, Update
from choros.saga.lambdas import unless_lambda
from choros.saga.orders import UndoOrder


@dataclass(frozen=True, slots=True)
class Need:
    """One parameter of a function, and the message that fills it."""

    parameter: str
    source: Literal["start", "reply", "failure", "refusal", "command", "item", "update"]
    message: type[Any]
    """Its type; that of an item may be any."""
    step: str = ""
    """The path of the step whose reply it is, or command, or that is refused with it; or of the item."""
    optional: bool = False
    codes: tuple[str, ...] = ()
    """The codes of the refusals that it is given with."""
    by_choice: tuple[tuple[str, type[Message]], ...] = ()
    """Of a step that chose: what fills it, by what was chosen; of a choice that is not among these it is None."""
    collected: tuple[type[list[Any]] | type[tuple[Any, ...]], ...] = ()
    """What the replies of all items come in, for each loop that stands between the step and who asks."""


@dataclass(frozen=True, slots=True)
class PureFunction:
    """A function of the declaration, with what fills its parameters."""

    function: Callable[..., Any]
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class Builder(PureFunction):
    """One that builds a message."""

    builds: type[Message]
    """What it builds; where it may choose, the first of its annotation."""
    others: tuple[type[Message], ...] = ()
    """What it may build instead."""
    optional: bool = False
    """Whether it may build nothing: then there is nothing to do."""

    @property
    def kinds(self) -> tuple[type[Message], ...]:
        """The types of all that it may build."""
        return (self.builds, *self.others)

    def choice(self, kind: type[Message]) -> str:
        """How its choice is kept; empty where it has none."""
        return bare_name(kind) if self.others else ""

    def chosen(self, choice: str) -> type[Message]:
        """What it built, by how its choice was kept."""
        return next((kind for kind in self.others if bare_name(kind) == choice), self.builds)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredUpdate(Builder):
    """A function that answers an update: it builds the reply, or raises Refused."""

    update: type[Update[Any]]
    users: tuple[str, ...]
    """The paths of the nodes whose functions ask for it: once the saga has come to one of them, it is too late. Of what
    is done again and again, the loop."""
    closing: bool
    """Whether what the saga ends with asks for it."""

    @property
    def name(self) -> str:
        """What it is called, in whatever version."""
        return bare_name(self.update)


@dataclass(frozen=True, slots=True)
class Choosing:
    """A step that may choose what it commands, or that it commands nothing, and the replies to that."""

    step: str
    commands: tuple[type[Command[Any]], ...]
    optional: bool
    """Whether there may be no reply, whichever it chooses."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a function may ask for at its place in the saga."""

    saga: str
    start: type[Message]
    replies: Sequence[tuple[str, type[Message]]]
    """(path of the step, type) of the replies known by then, and of what a wait was given."""
    maybe: Sequence[tuple[str, type[Message]]] = ()
    """Replies that may be known: asked for as `Reply | None` only."""
    choices: Sequence[Choosing] = ()
    """Steps whose replies depend on what they chose."""
    own: Choosing | None = None
    """The step that the function undoes: it may ask for the command that it undoes."""
    refusals: Sequence[tuple[str, type[Command[Any]]]] = ()
    """(path of the step, its command) of what may have been refused: what is given with it, as `Reply | None` only."""
    failure: bool = False
    no_failure: str = "only the facts of compensated=... can have one"
    """Why there is none, if there is none."""
    items: Sequence[tuple[str, Any]] = ()
    """(path of the item, type) of those that it stands in."""
    updates: Sequence[type[Update[Any]]] = ()
    """Those that may have been accepted: asked for as `ChangeAddress | None` only."""
    asked: type[Update[Any]] | None = None
    """The one that the function answers."""

    def loops(self, step: str) -> int:
        """How many loops stand between here and this step: so many replies of it are known, and not one."""
        around = [path for path, _ in self.items if step.startswith(f"{path}.")]
        return step[max(map(len, around), default=0) :].count("[]")


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where in a saga a node stands: what its functions may ask for there, and what may stand there."""

    path: str
    known: Known
    """The start message, and the replies known by then."""
    pivot: bool
    """Whether the saga has a pivot."""
    passed: bool
    """Whether it lies behind."""
    undo: UndoOrder = "newest_first"
    counted: str = ""
    """In which order what stands here is undone; the path of what is newest first over all of its ways, if any."""

    @property
    def saga(self) -> str:
        """The name of the saga."""
        return self.known.saga

    @property
    def where(self) -> str:
        """What sentences about it begin with."""
        return f"saga {self.saga!r}: {self.path}"

    def inside(self, name: str) -> str:
        """The path of a node in the one that stands here."""
        return f"{self.path}.{name}" if self.path else name


def bare_name(message: type[Message]) -> str:
    """What a message is called, in whatever version."""
    return message.type_name.rpartition(".v")[0]


def signature_of(function: Callable[..., Any], saga: str) -> tuple[Mapping[str, Any], Any]:
    """The parameters (name to type) and the return type; raises DeclarationError where they are not written down."""
    name = getattr(function, "__name__", repr(function))
    if inspect.iscoroutinefunction(function):
        raise DeclarationError(f"saga {saga!r}: {name} is async, but it only builds a message.", "write a plain def.")
    hints = hints_of(function, f"saga {saga!r}: {name}")
    parameters = inspect.signature(function).parameters
    for parameter in parameters.values():
        _check_parameter(saga, name, parameter, hints)
    if "return" not in hints:
        hint = unless_lambda(name, "annotate it: -> SomeMessage.")
        raise DeclarationError(f"saga {saga!r}: {name} does not say what it returns.", hint)
    return {p: hints[p] for p in parameters}, hints["return"]


def _check_parameter(saga: str, name: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> None:
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise DeclarationError(
            f"saga {saga!r}: {name} takes {parameter.name!r} by its place only, and it is given by name.",
            "leave the '/' out.",
        )
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise DeclarationError(f"saga {saga!r}: {name} takes {parameter}, which no message can fill.")
    if parameter.name not in hints:
        raise DeclarationError(
            f"saga {saga!r}: {name} does not say what its parameter {parameter.name!r} is.",
            unless_lambda(name, "annotate it with the start message or a reply."),
        )


def needs_of(function: Callable[..., Any], known: Known) -> tuple[Need, ...]:
    """What fills each parameter; raises DeclarationError for what cannot be known at that place."""
    parameters, _ = signature_of(function, known.saga)
    return tuple(_need(function.__name__, name, hint, known) for name, hint in parameters.items())


def _need(function: str, parameter: str, hint: Any, known: Known) -> Need:
    if item := _item(function, parameter, hint, known):
        return item
    inner, collected = _each(hint)
    wanted, optional = without_none(inner)
    if wanted is known.start and not collected:
        return Need(parameter, "start", known.start)
    if wanted is Failure and known.failure and not collected:
        return Need(parameter, "failure", Failure)
    kinds = members(wanted)
    if known.own and not collected and all(kind in known.own.commands for kind in kinds):
        need = _of_choice(
            parameter, "command", known.own.step, {bare_name(one): one for one in kinds}, known.own, False
        )
        return _checked(function, need, wanted, optional, known)
    if not all(_may_be_known(kind, known) for kind in kinds):
        raise DeclarationError(
            f"saga {known.saga!r}: {function} needs {shown_type(hint if collected else wanted)} for {parameter!r},"
            f" which is neither {known.start.__name__} nor a reply.",
            f"take {known.start.__name__} or the reply of an earlier step.",
        )
    need = replace(_answer(function, parameter, wanted, known, len(collected)), collected=collected)
    return _checked(function, need, wanted, optional, known)


def _may_be_known(kind: Any, known: Known) -> bool:
    """Whether a step may reply with it, or a saga in its place comes to it."""
    if isinstance(kind, type) and issubclass(kind, Reply | Signal | Update):
        return True
    return any(kind is one for _, one in (*known.replies, *known.maybe))


def _checked(function: str, need: Need, wanted: Any, optional: bool, known: Known) -> Need:
    """Raises DeclarationError where it may be missing, and the function does not take that into account."""
    if need.optional and not optional:
        raise DeclarationError(
            f"saga {known.saga!r}: {function} needs {shown_type(wanted)}, which {_why_missing(need, known)}.",
            f"write {need.parameter}: {_written(f'{shown_type(wanted)} | None', len(need.collected))}.",
        )
    return need


def _item(function: str, parameter: str, hint: Any, known: Known) -> Need | None:
    """The item of this very type that it stands in, if there is one."""
    mine = [path for path, kind in known.items if kind == hint]
    if len(mine) > 1:
        mine = [path for path in mine if path.removesuffix("[]").rpartition(".")[2] == parameter]
        if not mine:
            raise DeclarationError(
                f"saga {known.saga!r}: {function} needs {shown_type(hint)}, which is an item of several loops.",
                "name the parameter after the loop.",
            )
    return Need(parameter, "item", hint, mine[0]) if mine else None


def _each(hint: Any) -> tuple[Any, tuple[type[list[Any]] | type[tuple[Any, ...]], ...]]:
    """What stands in lists, or in tuples of any length, and in which."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (list, Sequence) or (origin is tuple and arguments[1:] == (...,)):
        inner, around = _each(arguments[0])
        return inner, (tuple if origin is tuple else list, *around)
    return hint, ()


def _written(inner: str, loops: int) -> str:
    """A type as one writes it, in so many lists."""
    return f"{'list[' * loops}{inner}{']' * loops}"


def _why_missing(need: Need, known: Known) -> str:
    for choice in (*known.choices, known.own):
        if choice and choice.step == need.step and 1 < len(choice.commands) > len(need.by_choice):
            return f"{need.step} does not always choose"
        if choice and choice.step == need.step and choice.optional:
            return f"is not known where {need.step} is passed over or in doubt"
    if known.own and known.own.step == need.step:
        return f"may not be known by then: {need.step} may be in doubt, as after a timeout"
    if need.source == "refusal":
        return "may not be known by then: the saga may be undone for another reason"
    if need.source == "update":
        return "may not be known by then: perhaps nobody asks for it"
    if known.failure:
        return f"may not be known by then: the saga may be undone without a reply of {need.step}"
    return f"may not be known by then: the saga may come here without a reply of {need.step}"


def members(hint: Any) -> tuple[Any, ...]:
    """The types that a union is made of, without None; any other type by itself."""
    if _is_union(hint):
        return tuple(argument for argument in get_args(hint) if argument is not types.NoneType)
    return (hint,)


def without_none(hint: Any) -> tuple[Any, bool]:
    """A type, and whether None may stand in its place."""
    if _is_union(hint) and types.NoneType in get_args(hint):
        rest = members(hint)
        return reduce(or_, rest), True
    return hint, False


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def shown_type(hint: Any) -> str:
    """A type as one writes it; what Python itself calls a union depends on its version."""
    if _is_union(hint):
        return " | ".join(map(shown_type, get_args(hint)))
    if hint is types.NoneType:
        return "None"
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _candidates(parameter: str, wanted: Any, known: Known) -> Iterator[Need]:
    yield from (Need(parameter, "reply", wanted, step) for step, reply in known.replies if reply is wanted)
    yield from (Need(parameter, "reply", wanted, step, True) for step, reply in known.maybe if reply is wanted)
    yield from (
        Need(parameter, "update", wanted, "", wanted is not known.asked) for one in known.updates if one is wanted
    )
    for choice in known.choices:
        replies = {bare_name(one): one.reply_type for one in choice.commands if one.reply_type in members(wanted)}
        if {*replies.values()} == {*members(wanted)}:
            yield _of_choice(parameter, "reply", choice.step, replies, choice, choice.optional)
    codes: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for step, command in known.refusals:
        codes[step] += tuple(code for code, data in command.refusal_data.items() if data is wanted)
    yield from (Need(parameter, "refusal", wanted, step, True, given) for step, given in codes.items() if given)


def _of_choice(
    parameter: str,
    source: Literal["reply", "command"],
    step: str,
    kinds: Mapping[str, type[Message]],
    choice: Choosing,
    optional: bool,
) -> Need:
    """What fills it by what was chosen; of any other choice there is nothing."""
    by_choice = tuple(kinds.items()) if len(choice.commands) > 1 else ()
    missing = optional or len(kinds) < len(choice.commands)
    return Need(parameter, source, next(iter(kinds.values())), step, missing, by_choice=by_choice)


def _loops(known: Known, need: Need) -> int:
    return known.loops(need.step) if need.source == "reply" else 0


def _answer(function: str, parameter: str, wanted: Any, known: Known, loops: int) -> Need:
    """The reply, or what is given with a refusal; behind so many loops, one for each item."""
    found = list(_candidates(parameter, wanted, known))
    candidates = [one for one in found if _loops(known, one) == loops]
    if len(candidates) > 1:
        candidates = [one for one in candidates if parameter in (one.step, one.step.rpartition(".")[2])]
        if not candidates:
            raise DeclarationError(
                f"saga {known.saga!r}: {function} needs {shown_type(wanted)}, which several steps answer with.",
                "name the parameter after the step.",
            )
    if not candidates and found:
        many = _loops(known, found[0])
        raise DeclarationError(
            f"saga {known.saga!r}: {function} needs {shown_type(wanted)} for {parameter!r}, but"
            f" {found[0].step} replies {'once for each item' if many else 'once'}.",
            f"write {parameter}: {_written(shown_type(wanted), many)}.",
        )
    if not candidates and wanted is Failure:
        raise DeclarationError(
            f"saga {known.saga!r}: {function} takes a Failure, but {known.no_failure}.",
            f"leave {parameter!r} out; a fact in compensated=... may take it.",
        )
    if not candidates and isinstance(wanted, type) and issubclass(wanted, Update):
        raise DeclarationError(
            f"saga {known.saga!r}: {function} asks for {wanted.__name__}, which the saga does not answer.",
            "name the function that does: Saga(..., updates=(...,)).",
        )
    if not candidates:
        which, hint = "no earlier step replies", "move the step behind the one that replies with it."
        if known.failure:
            which, hint = "no step replies or may be refused", "declare it with the command: refusals={'...': ...}."
        raise DeclarationError(f"saga {known.saga!r}: {function} needs {shown_type(wanted)}, which {which} with.", hint)
    return candidates[0]
