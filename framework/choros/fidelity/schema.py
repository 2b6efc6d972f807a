"""Fidelity: whether what a message class writes is what it reads, judged once, from pydantic's schema of it.

Some classes write what nobody can ever read back as it was: they have *faults* and are refused when they are declared.
Others are *doubtful*: it depends on the value, so each one is read back when it is written, and refused if it comes
back as another. All else survives whatever it holds, and pays nothing. What is not known here is doubtful.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pydantic import Secret, SecretBytes, SecretStr
from pydantic_core import SchemaSerializer, SchemaValidator

SchemaNode = Mapping[str, Any]
"""A part of a core schema: what pydantic's own documentation lists, by `type`."""
Compare = Callable[[Any, Any], str | None]
"""None where two values are the same: `comparison.first_difference`."""

_HIDDEN = "declare it as str with Field(repr=False), or send where the secret is kept."
_PLAIN = frozenset({"str", "int", "bool", "none", "date", "uuid", "bytes"})
"""Of these, equal values are one text."""
_LOOSE = frozenset({"float", "decimal", "timedelta"})
"""These survive, too, but equal values may be several texts."""
_ITEMS = frozenset({"list", "tuple", "set", "frozenset", "deque"})
_UNFIT_KEYS = frozenset({"tuple", "named-tuple", "none", "list", "set", "frozenset", "dict", "model", "dataclass"})
_FIT_KEYS = frozenset({"str", "int", "bool", "decimal", "date", "time", "timedelta", "uuid", "bytes"})
_AROUND = frozenset({"function-before", "function-wrap", "function-plain"})
"""They may read what the schema within does not."""
_NO_ARRAYS = _PLAIN | _LOOSE | {"datetime", "time", "literal", "enum", "dict", "model", "dataclass", "typed-dict"}
_NO_JSON = ("is of a kind that no JSON is read as", "a pydantic model, or a field of plain values.")
_NEVER = {
    "json": ("is written as what it holds, but read as a text of JSON", "declare what it holds, without Json."),
    "generator": ("is used up when it is written", "declare a tuple."),
    **dict.fromkeys(("is-instance", "is-subclass", "callable"), _NO_JSON),
}
"""What is wrong with these, and what to do about it."""
_SECRETS = (SecretStr, SecretBytes, Secret)
_MAKERS = (list, dict, set, frozenset, tuple, str, int, float, bool, uuid4)
"""Of what these make for a default, one is as good as another."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a class is refused."""

    place: str
    """The path to the field."""
    what: str
    hint: str


@dataclass(slots=True)
class Fidelity:
    """What was found out about a class."""

    faults: list[Misfit] = field(default_factory=list)
    doubtful: bool = False
    """Whether each value has to be read back."""
    floats: bool = False
    """Whether it may hold a number that is not finite, which is written as `null`."""
    decimals: bool = False
    """Whether a number of JSON may be read as a Decimal: more digits than a float has must not be lost."""
    arrays: bool = False
    """Whether a list may be meant where a tuple could be, which JSON does not tell apart."""
    nested: list[type] = field(default_factory=list)
    """Classes of values within: what a subclass of one adds is not written."""
    plain: bool = True
    """Whether equal values are always written as the same text."""

    def doubts(self, body: str) -> bool:
        """Whether what was written as this has to be read back."""
        return self.doubtful or (self.floats and "null" in body) or any(one.__subclasses__() for one in self.nested)


def judge(schema: SchemaNode, compare: Compare) -> Fidelity:
    """The fidelity of the class that this core schema was made of."""
    judging = _Judging(schema, compare)
    judging.visit(judging.root, "", {})
    return judging.found


class _Judging:
    """One walk through a schema."""

    def __init__(self, schema: SchemaNode, compare: Compare) -> None:
        self.found = Fidelity()
        self._compare = compare
        definitions: Sequence[SchemaNode] = schema.get("definitions", ()) if schema["type"] == "definitions" else ()
        self._definitions = {node["ref"]: node for node in definitions}
        self._seen: set[str] = set()
        self._around = 0
        self.root: SchemaNode = schema["schema"] if schema["type"] == "definitions" else schema

    def visit(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        """Look at a part; `config` is that of the class around it."""
        kind: str = node["type"]
        if _hides(node):
            self._fault(place, "is written as '**********'", _HIDDEN, always=True)
        elif "serialization" in node:
            self._doubt()
        elif kind in _PLAIN or kind in _LOOSE:
            self._scalar(kind, place, config)
        elif kind in _ITEMS:
            self._several(node, place, config)
        else:
            _LOOK.get(kind, _Judging._other)(self, node, place, config)

    # --- what is found ---

    def _doubt(self) -> None:
        self.found.doubtful, self.found.plain = True, False

    def _fault(self, place: str, what: str, hint: str, *, always: bool = False) -> None:
        """Below a validator of the user's own, that may read anything, it is only a doubt."""
        if self._around and not always:
            self._doubt()
        else:
            self.found.faults.append(Misfit(place, what, hint))

    # --- single values ---

    def _scalar(self, kind: str, place: str, config: SchemaNode) -> None:
        self.found.plain = self.found.plain and kind in _PLAIN
        if kind == "decimal":
            self.found.decimals = True
        elif kind == "float":
            self.found.floats = True
            if config.get("ser_json_inf_nan", "null") != "null":
                self._doubt()
        elif kind == "bytes":
            self._bytes(place, config)
        elif kind in ("date", "timedelta"):
            self._moment(config)

    def _bytes(self, place: str, config: SchemaNode) -> None:
        written, read = config.get("ser_json_bytes", "utf8"), config.get("val_json_bytes", "utf8")
        if written != read:
            hint = f"ConfigDict(ser_json_bytes={written!r}, val_json_bytes={written!r})."
            self._fault(place, f"is written as {written} and read as {read}", hint)

    def _moment(self, config: SchemaNode) -> None:
        if config.keys() & {"ser_json_timedelta", "ser_json_temporal", "val_temporal_unit"}:
            self._doubt()

    def _clock(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        """An offset is written without its seconds; only what has none is sure to survive."""
        self._moment(config)
        if node.get("tz_constraint") != "naive":
            self._doubt()

    def _finite(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        """A literal or an enum: each of its members is tried."""
        survive = [self._survives(node, member, config) for member in node.get("expected") or node["members"]]
        if not any(survive):
            self._fault(place, "has values that cannot be read back", "values that are texts or numbers.")
        elif not all(survive):
            self._doubt()

    # --- many values ---

    def _several(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        items = node.get("items_schema", {"type": "any"})
        if node["type"] in ("set", "frozenset"):
            self.found.plain = False
        for one in items if isinstance(items, list) else [items]:
            self.visit(one, f"{place}[]", config)

    def _dict(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        self.found.plain = False
        keys = self._resolved(node.get("keys_schema", {"type": "any"}))
        if keys["type"] in _UNFIT_KEYS:
            self._fault(place, "has keys that cannot be read back", "keys that are one text each, or a list of pairs.")
        elif keys["type"] not in _FIT_KEYS and not _are_texts(keys):
            self._doubt()
        self.visit(keys, f"{place}[]", config)
        self.visit(node.get("values_schema", {"type": "any"}), f"{place}[]", config)

    def _union(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        """Members may look alike in JSON, so another one may be read."""
        choices = [choice[0] if isinstance(choice, tuple) else choice for choice in node["choices"]]
        self._doubt()
        self.found.arrays |= sum(self._resolved(choice)["type"] not in _NO_ARRAYS for choice in choices) > 1
        self._around += 1  # another member may be meant
        for choice in choices:
            self.visit(choice, place, config)
        self._around -= 1

    def _tagged(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        if not isinstance(node["discriminator"], str):
            self._doubt()
        for choice in node["choices"].values():
            if isinstance(choice, Mapping):
                self.visit(choice, place, config)

    # --- classes ---

    def _model(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        own = node.get("config", {})
        if node.get("post_init") or node.get("custom_init"):
            self._doubt()
        self._nest(node, place)
        self.visit(node["schema"], place, own)

    def _nest(self, node: SchemaNode, place: str) -> None:
        """Of the message itself the very class is known where it is sent."""
        if place and isinstance(node.get("cls"), type) and node["cls"] not in self.found.nested:
            self.found.nested.append(node["cls"])

    def _fields(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        config = {**config, **node.get("config", {})}
        extra = node.get("extra_behavior") or config.get("extra_fields_behavior", "ignore")
        if node["type"] == "typed-dict" or node.get("computed_fields"):
            self.found.plain = False
        # By which of its names pydantic writes the field of a TypedDict, is not the same everywhere.
        if extra == "allow" or (node["type"] == "typed-dict" and config.get("serialize_by_alias")):
            self._doubt()
        if extra != "ignore":
            for one in node.get("computed_fields", ()):
                hint = "make it a plain property, or a field."
                self._fault(_under(place, one["property_name"]), "is written, but cannot be read", hint)
        for name, one in _named_fields(node):
            self._field(one, _under(place, name), name, config)

    def _field(self, one: SchemaNode, place: str, name: str, config: SchemaNode) -> None:
        if one.get("init") is False:
            self._fault(place, "is written, but cannot be read", "leave out init=False.")
        if "init_only" in one or "serialization_exclude_if" in one:
            self._doubt()
        if one.get("serialization_exclude"):
            self._left_out(one, place)
        else:
            self._alias(one, place, name, config)
        self.visit(one["schema"], place, config)

    def _left_out(self, one: SchemaNode, place: str) -> None:
        if one["schema"]["type"] == "default":
            self._doubt()
        else:
            what = "is left out of what is written, but needed by whoever reads"
            self._fault(place, what, "give it a default, or send it.")

    def _alias(self, one: SchemaNode, place: str, name: str, config: SchemaNode) -> None:
        read = _read_as(one, name, config)
        written = one.get("serialization_alias", name) if config.get("serialize_by_alias") else name
        if written not in read:
            what = f"is written as {written!r}, but read as {' or '.join(map(repr, sorted(read)))}"
            self._fault(place, what, "ConfigDict(serialize_by_alias=True) with one alias for both, or none.")

    # --- what is around others ---

    def _within(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        """It changes nothing of what is in it."""
        self.visit(node["schema"], place, config)

    def _default(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        """A default is not validated, so it may be anything. Where a user's own code would have a say it is not tried,
        and is in doubt anyhow."""
        self._within(node, place, config)
        if self.found.doubtful:
            return
        make = node.get("default_factory")
        known = make is None or make in _MAKERS
        if not (known and self._keeps(node["schema"], make() if make else node["default"], config)):
            self._doubt()

    def _keeps(self, node: SchemaNode, value: Any, config: SchemaNode) -> bool:
        """Whether this value survives as a value of that part."""
        if value is None or value == ():
            return node["type"] in ("nullable", "tuple", "any")
        whole = {"type": "definitions", "schema": node, "definitions": list(self._definitions.values())}
        return self._survives(whole if self._definitions else node, value, config)

    def _survives(self, node: SchemaNode, value: Any, config: SchemaNode) -> bool:
        schema: Any = {name: part for name, part in node.items() if name not in ("metadata", "ref")}
        own: Any = config
        try:
            written = SchemaSerializer(schema, own).to_json(value, warnings="error")
            read = SchemaValidator(schema, own).validate_json(written, strict=True)
            return self._compare(value, read) is None
        except Exception:
            return False

    def _function(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        """It may make anything of a value, again and again."""
        self._doubt()
        around = node["type"] in _AROUND
        self._around += around
        if "schema" in node:
            self.visit(node["schema"], place, config)
        self._around -= around

    def _branch(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        """What is built is not read by the same rule."""
        self._doubt()
        self.visit(node.get("strict_schema") or node.get("json_schema") or node["steps"][0], place, config)

    def _reference(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        target = self._definitions[node["schema_ref"]]
        self._nest(target, place)
        if node["schema_ref"] not in self._seen:
            self._seen.add(node["schema_ref"])
            self.visit(target, place, config)

    def _resolved(self, node: SchemaNode) -> SchemaNode:
        return self._definitions[node["schema_ref"]] if node["type"] == "definition-ref" else node

    def _other(self, node: SchemaNode, place: str, config: SchemaNode) -> None:
        if node["type"] in _NEVER:
            self._fault(place, *_NEVER[node["type"]])
        self._doubt()


_Judge = Callable[[_Judging, SchemaNode, str, SchemaNode], None]
_LOOK: dict[str, _Judge] = {
    "datetime": _Judging._clock,
    "time": _Judging._clock,
    "literal": _Judging._finite,
    "enum": _Judging._finite,
    "dict": _Judging._dict,
    "union": _Judging._union,
    "tagged-union": _Judging._tagged,
    "model": _Judging._model,
    "dataclass": _Judging._model,
    "model-fields": _Judging._fields,
    "typed-dict": _Judging._fields,
    "dataclass-args": _Judging._fields,
    "nullable": _Judging._within,
    "default": _Judging._default,
    **dict.fromkeys(("function-after", *_AROUND), _Judging._function),
    "lax-or-strict": _Judging._branch,
    "json-or-python": _Judging._branch,
    "chain": _Judging._branch,
    "definition-ref": _Judging._reference,
}


def _under(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _named_fields(node: SchemaNode) -> Iterator[tuple[str, SchemaNode]]:
    fields = node["fields"]
    yield from fields.items() if isinstance(fields, Mapping) else ((one["name"], one) for one in fields)


def _read_as(one: SchemaNode, name: str, config: SchemaNode) -> set[str]:
    """The names that a reader knows the field by."""
    alias = one.get("validation_alias")
    if alias is None:
        return {name}
    paths = [[alias]] if isinstance(alias, str) else alias if isinstance(alias[0], list) else [alias]
    by_alias = {path[0] for path in paths if len(path) == 1} if config.get("validate_by_alias", True) else set()
    by_name = config.get("validate_by_name", config.get("populate_by_name", False))
    return by_alias | ({name} if by_name else set())


def _hides(node: SchemaNode) -> bool:
    """Whether it is one of pydantic's secrets, written as they are by default."""
    shown = node.get("strict_schema", node)
    function = shown.get("serialization", {}).get("function")
    if getattr(function, "__module__", "") != "pydantic.types" or (node is not shown and "serialization" in node):
        return False
    made_by = shown.get("json_schema", {}).get("function", {}).get("function")
    return made_by in _SECRETS or "Secret." in getattr(made_by, "__qualname__", "")


def _are_texts(node: SchemaNode) -> bool:
    """Whether these keys are literals or members of an enum, each with a text for its value."""
    values = node.get("expected") or [getattr(one, "value", one) for one in node.get("members", ())]
    return node["type"] in ("literal", "enum") and bool(values) and all(type(one) is str for one in values)
