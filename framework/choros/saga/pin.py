"""The pin file: what an application's sagas were made of when somebody last looked, to compare the declarations with.

It holds each saga's fingerprint as text, and digests of what decides whether a start is the same start again: the
source of `key`, and the fields of the start message.
"""

import ast
import hashlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType
from typing import Any

from choros.errors import UsageError
from choros.messages import Message
from choros.names import BusinessKey
from choros.saga.difference import difference
from choros.saga.saga import Saga

_HEAD = "# What the sagas are made of, for `choros check` to compare. Written by `choros check APP --pin`; commit it.\n"
_KEY, _MODEL = "pinned key ", "pinned start model "
_WORDS = frozenset({"title", "description", "examples"})
"""Parts of a JSON schema that say nothing of the values."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What is pinned of one saga."""

    text: str
    """Of its fingerprint."""
    key: str
    model: str


Pins = Mapping[tuple[str, int], Pin]
"""By saga and version."""


def pins_of(sagas: Iterable[Saga[Any]]) -> Pins:
    """What there is to pin of these sagas."""
    return {(s.name, s.version): Pin(s.fingerprint.text, _key_digest(s.key), _model_digest(s.start)) for s in sagas}


def dumps(pins: Pins) -> str:
    """The text of a pin file."""
    blocks = [f"{pin.text}{_KEY}{pin.key}\n{_MODEL}{pin.model}\n" for _, pin in sorted(pins.items())]
    return "\n".join([_HEAD, *blocks])


def loads(text: str) -> Pins:
    """Read a pin file; raises UsageError where it is none."""
    blocks = text.removeprefix(_HEAD).strip().split("\n\n")
    try:
        return dict(_block(block) for block in blocks if block)
    except (ValueError, KeyError):
        raise UsageError("This is no pin file.", "choros check APP --pin writes one.") from None


def _block(block: str) -> tuple[tuple[str, int], Pin]:
    lines = block.splitlines()
    said = {prefix: line.removeprefix(prefix) for line in lines for prefix in (_KEY, _MODEL) if line.startswith(prefix)}
    text = "".join(f"{line}\n" for line in lines if not line.startswith((_KEY, _MODEL)))
    name, version, _ = lines[0].removeprefix("saga ").split(", ")
    return (name, int(version.removeprefix("version "))), Pin(text, said[_KEY], said[_MODEL])


def changes(here: Pins, pinned: Pins) -> Iterator[str]:
    """How the declarations differ from what is pinned, a sentence for each difference."""
    for (name, version), pin in sorted(here.items()):
        of = f"saga {name!r} version {version}"
        if (name, version) not in pinned:
            yield f"{of} is not pinned yet."
        else:
            yield from (f"{of}: {sentence}" for sentence in _changed(pin, pinned[name, version]))
    for name, version in sorted(set(pinned) - set(here)):
        yield f"saga {name!r} version {version} is pinned, and not part of this application: its instances would stand."


def _changed(pin: Pin, pinned: Pin) -> Iterator[str]:
    if pin.text != pinned.text:
        told = difference(pin.text, pinned.text, "in the pin file")
        yield f"{told or 'its text is another'}. Instances under way would stand; give it a new version."
    if pin.key != pinned.key:
        yield "its key is another function than the pinned one: the same start may begin twice."
    if pin.model != pinned.model:
        yield "its start message has other fields than the pinned one: the same start may count as another."


def _model_digest(start: type[Message]) -> str:
    try:
        return _digest(json.dumps(_bare(start.model_json_schema())))
    except Exception:  # a field may be of a type that has no schema, or whose own functions write it
        return _digest(json.dumps(list(start.model_fields)))


def _bare(schema: Any, *, names: bool = False) -> Any:
    """A schema without its words; the keys of `properties` are names of fields, which may be called anything."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if names or key not in _WORDS}
    return {key: _bare(value, names=not names and key in ("properties", "$defs")) for key, value in kept.items()}


def _key_digest(key: Callable[..., BusinessKey] | None) -> str:
    return "none" if key is None else _digest(_source(key))


def _source(function: Callable[..., BusinessKey]) -> str:
    """The function alone, however it is formatted and whatever else stands on its line."""
    try:
        source = textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError):
        return _named(function)
    # The source of a lambda is whole lines: an argument of the call that it stands in, as often as not.
    for text in (source, f"_({source.rstrip(',')}\n)"):
        with suppress(SyntaxError):
            return ast.unparse(_itself(ast.parse(text), getattr(function, "__code__", None)))
    return " ".join(source.split())


def _named(function: Callable[..., BusinessKey]) -> str:
    """What is called, where it has no source: an attrgetter or a partial shows what it was made of, and its address."""
    if inspect.getattr_static(type(function), "__repr__") is object.__repr__:
        return type(function).__qualname__
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(function))


def _itself(tree: ast.AST, code: CodeType | None) -> ast.AST:
    lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    return next((node for node in lambdas if code is not None and _outcome(_code(node)) == _outcome(code)), tree)


def _code(node: ast.Lambda) -> CodeType:
    made = compile(ast.fix_missing_locations(ast.Expression(node)), "", "eval")
    return next(one for one in made.co_consts if isinstance(one, CodeType))


def _outcome(code: CodeType) -> tuple[object, ...]:
    return code.co_code, code.co_names, code.co_varnames, code.co_consts


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
