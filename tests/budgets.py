"""The budgets of the house (CONTRIBUTING.md), measured: `python tests/budgets.py` prints the figures and one sentence
for each that is broken.

A line of a file is any line; a line of a function is a line of its body that is not blank and not in its docstring; a
line of code is neither blank, nor only a comment, nor part of a docstring (of an attribute neither). Empty files and
functions without a body (declarations of a port) say nothing about size and are left out.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from statistics import median, quantiles
from typing import TypeGuard

import grimp

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORK = ROOT / "framework" / "choros"
PROOF = ROOT / "framework" / "choros_verify"
EXAMPLES = ROOT / "examples"
FOLDERS = (FRAMEWORK, PROOF, ROOT / "reference_services", EXAMPLES)
CORE = FRAMEWORK / "saga"
FACES = (
    "choros", "choros.fastapi", "choros.postgres", "choros.sqlalchemy", "choros.testing", "choros.testing.conformance",
    "choros_verify",
)  # fmt: skip
"""What a user may import from; every deeper path is private."""

FILE_MEDIAN, FILE_MOST = 120, 400
FUNCTION_MEDIAN, FUNCTION_NINE_IN_TEN, FUNCTION_MOST = 7, 20, 50
IMPORT_CHAIN = 12  # docs/decisions/0043-import-chain.md
PROOF_CHAIN = 15
"""The same with the proof, which stands on top of all the rest."""
NOT_HEART = (
    "transport/memory", "transport/rabbitmq", "store/memory", "store/sqlite", "store/redis", "store/postgres",
    "store/sql", "store/sqlalchemy", "cli", "testing",
)  # fmt: skip
"""What of `choros` is an adapter, a face, or for tests only; the rest is its heart."""
HEART_LINES = 23_700
"""Lines of code. A ratchet: it goes down where a change allows, and rose for what users can say: the vocabulary of
sagas, what services publish, how subscribers take it, and the shapes of handlers."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documentable = Function | ast.ClassDef | ast.Module
NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip
CLOCK_READINGS = {"now", "utcnow", "today"}


@dataclass(frozen=True)
class Source:
    """One file, read and parsed."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Where it is, as a person would write it."""
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else str(self.path)

    @property
    def lines(self) -> list[str]:
        """Its lines."""
        return self.text.splitlines()


@dataclass
class Report:
    """Figures and violations, as they are found."""

    figures: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def hold(self, kept: bool, violation: str) -> None:
        """Note the violation unless the budget is kept."""
        if not kept:
            self.violations.append(violation)


def read_sources(folders: Sequence[Path]) -> list[Source]:
    """Every Python file with something in it."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    texts = [(path, path.read_text(encoding="utf-8")) for path in paths]
    return [Source(path, text, ast.parse(text, str(path))) for path, text in texts if text.strip()]


# --- sizes ------------------------------------------------------------------------------------------------------------


def check_files(sources: Sequence[Source], report: Report) -> None:
    """How long the files are."""
    sizes = [len(source.lines) for source in sources]
    middle = median(sizes)
    report.figures.append(f"files       {len(sizes):5}   median {middle:g}, longest {max(sizes)}")
    report.hold(middle <= FILE_MEDIAN, f"The median file has {middle:g} lines; the budget is {FILE_MEDIAN}.")
    for source, size in zip(sources, sizes, strict=True):
        report.hold(size <= FILE_MOST, f"{source.name} has {size} lines; the budget is {FILE_MOST}.")


def check_functions(sources: Sequence[Source], report: Report) -> None:
    """How long the functions are."""
    sized = [(source, function, size) for source in sources for function, size in sized_functions(source)]
    sizes = sorted(size for _, _, size in sized) or [0]
    middle, ninth = median(sizes), quantiles([*sizes, sizes[-1]], n=10, method="inclusive")[-1]
    report.figures.append(f"functions   {len(sizes):5}   median {middle:g}, 90 % {ninth:g}, longest {sizes[-1]}")
    report.hold(middle <= FUNCTION_MEDIAN, f"The median function has {middle:g} lines, not {FUNCTION_MEDIAN}.")
    report.hold(ninth <= FUNCTION_NINE_IN_TEN, f"One function in ten is over {FUNCTION_NINE_IN_TEN} lines ({ninth:g}).")
    for source, function, size in sized:
        where = f"{source.name}:{function.lineno} {function.name}"
        report.hold(size <= FUNCTION_MOST, f"{where} has {size} lines; the budget is {FUNCTION_MOST}.")


def sized_functions(source: Source) -> Iterator[tuple[Function, int]]:
    """Every function that does something, nested ones too, with its size."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function) and (statements := body(node)):
            lines = source.lines[statements[0].lineno - 1 : node.end_lineno]
            yield node, sum(1 for line in lines if line.strip())


def body(function: Function) -> list[ast.stmt]:
    """What it does: neither docstring nor `...`."""
    return [statement for statement in function.body if not is_constant(statement)]


def is_constant(statement: ast.stmt) -> bool:
    """A docstring or an ellipsis."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def check_heart(sources: Sequence[Source], report: Report) -> None:
    """How much of choros has to be understood before any adapter, command or test."""
    code = sum(len(code_lines(source)) for source in sources)
    any_lines = sum(len(source.lines) for source in sources)
    report.figures.append(f"heart       {len(sources):5}   lines of code {code}, any {any_lines}")
    report.hold(code <= HEART_LINES, f"The heart of choros has {code} lines of code; the budget is {HEART_LINES}.")


def code_lines(source: Source) -> set[int]:
    """The numbers of its lines of code."""
    words = (token for token in tokenize.generate_tokens(StringIO(source.text).readline) if token.type not in NO_CODE)
    code = {line for token in words for line in range(token.start[0], token.end[0] + 1)}
    constants = (node for node in ast.walk(source.tree) if isinstance(node, ast.Expr) and is_docstring(node))
    return code - {line for node in constants for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def is_docstring(statement: ast.Expr) -> bool:
    """A text that stands by itself."""
    return isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)


def is_heart(source: Source) -> bool:
    """Whether it is part of `choros`, and neither an adapter, nor a face, nor for tests."""
    outside = (FRAMEWORK / folder for folder in NOT_HEART)
    return source.path.is_relative_to(FRAMEWORK) and not any(map(source.path.is_relative_to, outside))


# --- imports ----------------------------------------------------------------------------------------------------------

Imports = dict[str, set[str]]


def read_imports(*packages: str) -> Imports:
    """Who imports whom, imports inside functions and under TYPE_CHECKING included."""
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=False, cache_dir=None)
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def check_imports(imports: Imports, facade: str, most: int, report: Report) -> None:
    """No cycle, and no long chain. Front doors, which import all that is behind them, are not counted."""
    cycle = find_cycle(imports)
    report.hold(not cycle, f"These modules import each other: {' -> '.join(cycle)}.")
    if cycle:
        return
    doors = {facade, f"{facade}.__main__", *FACES}
    inside = {module: used - doors for module, used in imports.items() if module not in doors}
    chain = longest_chain(inside)
    report.figures.append(f"imports     {len(inside):5}   longest chain {len(chain) - 1}: {' > '.join(chain)}")
    report.hold(len(chain) - 1 <= most, f"A chain of imports is {len(chain) - 1} long, not {most}.")


def find_cycle(imports: Imports) -> list[str]:
    """One cycle, first module repeated at its end, or nothing."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        cycles = (visit(used, [*path, module]) for used in sorted(imports.get(module, ())))
        found = next((cycle for cycle in cycles if cycle), [])
        done.add(module)
        return found

    return next((cycle for module in sorted(imports) if (cycle := visit(module, []))), [])


def longest_chain(imports: Imports) -> list[str]:
    """The modules on the longest way down; there must be no cycle."""

    @functools.cache
    def chain(module: str) -> tuple[str, ...]:
        return (module, *longest([chain(used) for used in sorted(imports.get(module, ()))]))

    return list(longest([chain(module) for module in sorted(imports)]))


def longest(chains: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The first of the longest."""
    return max(chains, key=len, default=())


# --- words ------------------------------------------------------------------------------------------------------------


def check_words(sources: Sequence[Source], report: Report) -> None:
    """Every public module, class, function and method says what it is for."""
    declared = inherited_words(sources)
    documentable = [(source, name, node) for source in sources for name, node in public_names(source.tree)]
    report.figures.append(f"public names{len(documentable):5}")
    for source, name, node in documentable:
        # The name of a test in a conformance suite is a sentence already.
        explained = ast.get_docstring(node) or name in declared or name.startswith(".test_")
        line = getattr(node, "lineno", 1)
        report.hold(bool(explained), f"{source.name}:{line} {name.lstrip('.') or 'the module'} has no docstring.")


def public_names(tree: ast.Module) -> Iterator[tuple[str, Documentable]]:
    """The module, its public classes and functions, and the public methods (".name") of those classes."""
    yield "", tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            yield from ((f".{member.name}", member) for member in node.body if is_public(member))
        elif is_public(node):
            yield node.name, node


def is_public(node: ast.stmt) -> TypeGuard[Function]:
    """Neither private, nor special, nor one signature of several."""
    if not isinstance(node, Function) or node.name.startswith("_"):
        return False
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    return not any(decorator == "overload" or decorator.endswith(".setter") for decorator in decorators)


def inherited_words(sources: Sequence[Source]) -> set[str]:
    """Methods that a port documents: an adapter need not say it again."""
    classes = [node for source in sources for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)]
    ports = [node for node in classes if any("Protocol" in ast.unparse(parent) for parent in node.bases)]
    methods = [member for port in ports for member in port.body if isinstance(member, Function)]
    return {f".{method.name}" for method in methods if ast.get_docstring(method)}


def check_names(sources: Sequence[Source], report: Report) -> None:
    """One word, one meaning: no type's name stands twice, private ones included."""
    named = [(name.lstrip("_"), source.name) for source in sources for name in type_names(source.tree)]
    places: dict[str, list[str]] = {}
    for name, where in named:
        places.setdefault(name, []).append(where)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    report.figures.append(
        f"type names  {len(places):5}   {len(twice)} stand twice: {', '.join(sorted(twice)) or 'none'}"
    )
    for name in sorted(twice):
        report.hold(False, f"The type name {name} stands twice: {', '.join(twice[name])}.")


def type_names(tree: ast.Module) -> Iterator[str]:
    """The classes of a module, and its other names that are written like a class."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if is_annotated(node) else []
        names = (target.id for target in targets if isinstance(target, ast.Name))
        yield from (name for name in names if name.lstrip("_")[:1].isupper() and not name.isupper())


def is_annotated(node: ast.stmt) -> TypeGuard[ast.AnnAssign]:
    """A name with its type."""
    return isinstance(node, ast.AnnAssign)


def check_faces(packages: Sequence[str], report: Report) -> None:
    """Every name in their `__all__` exists and says what it is for."""
    for package in packages:
        module = importlib.import_module(package)
        names: Sequence[str] = getattr(module, "__all__", ())
        report.hold(bool(names), f"{package} has no __all__.")
        for name in names:
            thing = getattr(module, name, None)
            report.hold(thing is not None, f"{package}.__all__ names {name}, which is not there.")
            if inspect.isclass(thing) or inspect.isroutine(thing):
                report.hold(bool(thing.__doc__), f"{package}.{name} has no docstring.")


# --- the core ---------------------------------------------------------------------------------------------------------


def check_core(sources: Sequence[Source], report: Report) -> None:
    """The core reads no clock. (What it must not import, import-linter knows.)"""
    for source in sources:
        for call in (node for node in ast.walk(source.tree) if isinstance(node, ast.Call)):
            reads = isinstance(call.func, ast.Attribute) and call.func.attr in CLOCK_READINGS
            report.hold(not reads, f"{source.name}:{call.lineno} reads the clock; the core may not.")


def measure() -> Report:
    """All of it."""
    report, sources = Report(), read_sources(FOLDERS)
    framework = [source for source in sources if source.path.is_relative_to(FRAMEWORK.parent)]
    checks: list[Callable[[], None]] = [
        lambda: check_files(sources, report),
        lambda: check_functions(sources, report),
        lambda: check_heart([source for source in sources if is_heart(source)], report),
        lambda: check_imports(read_imports("choros"), "choros", IMPORT_CHAIN, report),
        lambda: check_imports(read_imports("choros", "choros_verify"), "choros", PROOF_CHAIN, report),
        lambda: check_words([*framework, *read_sources([EXAMPLES])], report),
        lambda: check_names(framework, report),
        lambda: check_faces(FACES, report),
        lambda: check_core([source for source in framework if source.path.is_relative_to(CORE)], report),
    ]
    for check in checks:
        check()
    return report


def main() -> int:
    """0 if every budget is kept."""
    report = measure()
    print(*report.figures, sep="\n")
    print(*report.violations, sep="\n", file=sys.stderr)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
