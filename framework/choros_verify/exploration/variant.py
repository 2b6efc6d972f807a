"""A variant of the machine: the same, but for one of its functions. A value: nothing in this process changes for it.

The core is pure, but its functions call each other by their names, so one of them cannot be handed in. Instead a module
with a function that is to be another is loaded once more, beside the real one, and so is every module of `choros.saga`
that imports it, directly or not; what these import besides is the real thing, inputs, instances and decisions above
all. `sys.modules` never hears of them. A declaration is carried over: what in it is of a class that the variant has a
copy of becomes of that copy.

A function that stands in for another is given the variant's own objects, and may call the real functions with them.
"""

import ast
import builtins
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, module_from_spec
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple, cast

from choros.saga.machine import machine, rerun
from choros.saga.machine.inputs import Decision

CORE = "choros.saga"


class Swap(NamedTuple):
    """A function of the core, or a method, and what stands in for it."""

    real: Callable[..., Any]
    instead: Callable[..., Any]


def instead_of(real: Callable[..., Any]) -> Callable[[Callable[..., Any]], Swap]:
    """Marks what stands in for a function."""
    return lambda instead: Swap(real, instead)


class Variant:
    """Decides as the machine would with what stands in for one of its functions."""

    def __init__(self, swap: Swap) -> None:
        self._swap = swap
        self._copies: dict[str, ModuleType] = {}
        self._carried: dict[int, tuple[Any, Any]] = {}
        self._machine: Any = self._module(machine.__name__)
        self._rerun: Any = self._module(rerun.__name__)

    def begin(self, declared: Any, *given: Any, **more: Any) -> Decision:
        """As `machine.begin`."""
        decision: Decision = self._machine.begin(self._known(declared), *given, **more)
        return decision

    def decide(self, declared: Any, *given: Any) -> Decision:
        """As `machine.decide`."""
        decision: Decision = self._machine.decide(self._known(declared), *given)
        return decision

    def never_begun(self, declared: Any, *given: Any, **more: Any) -> Decision:
        """As `machine.never_begun`."""
        decision: Decision = self._machine.never_begun(self._known(declared), *given, **more)
        return decision

    def why_not(self, *given: Any) -> str:
        """As `rerun.why_not`."""
        sentence: str = self._rerun.why_not(*given)
        return sentence

    def kept_by(self, *given: Any) -> Mapping[str, Any]:
        """As `rerun.kept_by`."""
        kept: Mapping[str, Any] = self._rerun.kept_by(*given)
        return kept

    # --- modules ---

    def _module(self, name: str) -> ModuleType:
        if not self._differs(name):
            return importlib.import_module(name)
        if name not in self._copies:
            spec = _spec(name)
            copy = self._copies[name] = module_from_spec(spec)
            copy.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
            cast(SourceFileLoader, spec.loader).exec_module(copy)
            if name == self._swap.real.__module__:
                owner, _, function = self._swap.real.__qualname__.rpartition(".")
                setattr(getattr(copy, owner) if owner else copy, function, self._swap.instead)
        return self._copies[name]

    def _differs(self, name: str) -> bool:
        return name == self._swap.real.__module__ or any(map(self._differs, _imported_by(name)))

    def _import(self, name: str, scope: Any = None, names: Any = None, wanted: Any = (), level: int = 0) -> ModuleType:
        """What `import` does in a copy."""
        if _is_core(name) and wanted and not level:
            return self._module(name)
        return builtins.__import__(name, scope, names, wanted, level)

    # --- declarations ---

    def _known(self, declared: Any) -> Any:
        """Carried over once; it is held, so that nothing else can come by its identity."""
        if id(declared) not in self._carried:
            self._carried[id(declared)] = declared, self._carry(declared)
        return self._carried[id(declared)][1]

    def _carry(self, value: Any) -> Any:
        if type(value) is tuple:
            return tuple(map(self._carry, value))
        if isinstance(value, Mapping):
            return MappingProxyType({key: self._carry(one) for key, one in value.items()})
        kind = type(value)
        if not _is_core(kind.__module__):
            return value
        carried: Any = object.__new__(getattr(self._module(kind.__module__), kind.__qualname__))
        names = [field.name for field in fields(value)] if is_dataclass(value) else vars(value)
        for name in names:
            object.__setattr__(carried, name, self._carry(getattr(value, name)))
        return carried


def _is_core(name: str) -> bool:
    return f"{name}.".startswith(f"{CORE}.")


def _spec(name: str) -> ModuleSpec:
    return cast(ModuleSpec, find_spec(name))


@cache
def _imported_by(name: str) -> Sequence[str]:
    """The modules of the core that one of them imports."""
    tree = ast.parse(cast(SourceFileLoader, _spec(name).loader).get_source(name) or "")
    found = (node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return [module for module in found if module and _is_core(module)]
