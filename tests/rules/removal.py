"""Takes one rule out of the running code, so that a test can show that it was held: a mutant written by hand."""

import inspect
import textwrap
from dataclasses import dataclass
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any


@dataclass(frozen=True)
class Removal:
    """A rule of docs/decisions/0001-rules.md, an edit of the source that takes it out, and tests that then fail."""

    rule: int
    what: str
    function: str
    """Dotted, below `choros`."""
    old: str
    new: str
    killed_by: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rule} {self.what}"

    def apply(self) -> None:
        """Every reference to the function sees it: its code is replaced, not its name."""
        function = _found(self.function)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1, (
            f"{self.function} has changed: {self.old!r} is there {source.count(self.old)} times"
        )
        function.__code__ = _code(source.replace(self.old, self.new), function)


def _found(name: str) -> FunctionType:
    words = name.split(".")
    for length in range(len(words) - 1, 0, -1):
        try:
            thing: Any = import_module(f"choros.{'.'.join(words[:length])}")
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            thing = inspect.getattr_static(thing, word)
        thing = getattr(thing, "fget", getattr(thing, "__func__", thing))  # of a property, of a static method
        assert isinstance(thing, FunctionType)
        return thing
    raise AssertionError(f"choros has no {name}")


def _code(source: str, function: FunctionType) -> CodeType:
    lines = source.splitlines(keepends=True)
    start = next(n for n, line in enumerate(lines) if line.startswith(("def ", "async def ")))  # without decorators
    names: dict[str, Any] = {**function.__globals__}  # for what its parameters are by default
    exec(compile("from __future__ import annotations\n" + "".join(lines[start:]), "<removal>", "exec"), names)
    code: CodeType = names[function.__name__].__code__
    return code
