"""docs/architecture.md, held to the code: what it names is there, its ways go downwards, and nothing is left off."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

import pytest

from choros import App, Command, Done, Fact, Message, Pivot, Saga, Service, Step, Transaction, running
from tests.budgets import FRAMEWORK, ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
MOST_FILES = 14
FILE = r"`([\w/]+\.py)`"
NAMES = r"((?: `[\w.]+`,?)+)"
_STOP = re.compile(rf"^(\d+)\. {FILE}{NAMES}(?: \(([^)]*)\))?:", re.MULTILINE)
_NAMED = re.compile(rf"{FILE}{NAMES}?")
LAYERS = ["runtime", "saga", "app"]
"""Where something is decided or handed on; what lies below is words and values, beyond the ports are adapters."""


@dataclass(frozen=True)
class Stop:
    """One line of a way, with the lines that belong to it."""

    number: int
    file: str
    names: list[str]
    callers: list[tuple[int, str]]
    """Each with the port or callable through which it calls; empty where it imports it."""
    text: str


def numbered(callers: str | None) -> list[tuple[int, str]]:
    found = re.findall(r"(\d+)(?: as `(\w+)`)?", callers or "")
    return [(int(number), through) for number, through in found]


def stops(section: str) -> dict[int, Stop]:
    heads = list(_STOP.finditer(section))
    ends = [*(head.start() for head in heads[1:]), len(section)]
    return {
        int(head[1]): Stop(
            int(head[1]), head[2], re.findall(r"`([\w.]+)`", head[3]), numbered(head[4]), section[head.end() : end]
        )
        for head, end in zip(heads, ends, strict=True)
    }


WAYS = {part.splitlines()[0]: stops(part) for part in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]}


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((FRAMEWORK / file).read_text())


@cache
def imports(file: str) -> set[str]:
    """The files of ours that it imports, under TYPE_CHECKING and in functions too."""
    nodes = [node for node in ast.walk(tree(file)) if isinstance(node, ast.ImportFrom)]
    modules = [(node.module or "").split(".") for node in nodes]
    return {f"{'/'.join(path)}.py" for package, *path in modules if package == "choros"}


def declared(nodes: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node) for target in targets if isinstance(target, ast.Name))


def has(file: str, name: str) -> bool:
    """Whether a file declares a function, a class, or "Class.method"."""
    first, _, method = name.partition(".")
    found = dict(declared(tree(file).body)).get(first)
    return found is not None and (
        not method or (isinstance(found, ast.ClassDef) and method in dict(declared(found.body)))
    )


def knows(file: str, name: str) -> bool:
    """Whether it declares it, or imports it."""
    nodes = [node for node in ast.walk(tree(file)) if isinstance(node, ast.ImportFrom)]
    return has(file, name) or any(alias.name == name for node in nodes for alias in node.names)


def is_one_of(file: str, port: str) -> bool:
    """Whether a class in it derives from the port."""
    classes = [node for node in tree(file).body if isinstance(node, ast.ClassDef)]
    return any(isinstance(parent, ast.Name) and parent.id == port for one in classes for parent in one.bases)


def test_there_are_four_ways() -> None:
    assert list(WAYS) == [
        "A start to its first command",
        "A reply to the next command",
        "A command to its reply",
        "A fact to its handler",
    ]


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_a_way_has_few_files_each_of_them_once(way: dict[int, Stop]) -> None:
    files = [stop.file for stop in way.values()]
    assert list(way) == list(range(1, len(way) + 1))
    assert len(files) > 5
    assert len(files) == len(set(files)) <= MOST_FILES


def arrows(way: dict[int, Stop], stop: Stop) -> Iterator[tuple[str, str]]:
    """From which file to which one has to lead, for this stop to be reached by those that call it."""
    for number, through in stop.callers:
        caller = way[number].file
        if not through:
            yield caller, stop.file
            continue
        assert knows(caller, through), f"{caller} knows no {through}"
        if not is_one_of(stop.file, through):
            givers = [one.file for one in way.values() if {caller, stop.file} <= {one.file, *imports(one.file)}]
            assert givers, f"nobody on the way hands {stop.file} to {caller}"
            yield givers[0], stop.file


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_every_stop_is_reached_from_an_earlier_one(way: dict[int, Stop]) -> None:
    for stop in way.values():
        assert stop.number == 1 or min(number for number, _ in stop.callers) < stop.number, stop
        for above, below in arrows(way, stop):
            assert below in imports(above), f"{above} does not import {below}"


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_what_a_stop_asks_it_imports(way: dict[int, Stop]) -> None:
    for stop in way.values():
        _, _, asked = stop.text.partition("*Asks*")
        for file, _ in _NAMED.findall(asked.split("\n\n")[0]):
            assert file in imports(stop.file), f"{stop.file} does not import {file}"


def test_every_file_and_function_is_there() -> None:
    named = [(file, name) for file, names in _NAMED.findall(PAGE) for name in re.findall(r"`([\w.]+)`", names)]
    assert len(named) > 60
    assert [f"{file} {name}" for file, name in named if not has(file, name)] == []
    files = {file for file, _ in _NAMED.findall(PAGE) if "/" in file}
    missing = {file for file in files if not ((FRAMEWORK / file).is_file() or (ROOT / file).is_file())}
    assert missing == {"saga/nodes/race.py"}  # which is to come


@cache
def layers() -> dict[str, int]:
    """The floor of each part of `choros`, and of the proof, as the import contract has them; 0 is the lowest."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = (one["layers"] for one in contracts if one["id"] == "layers")
    return {
        part.strip(" ()").removeprefix("choros."): floor
        for floor, parts in enumerate(reversed(found))
        for part in parts.split("|")
    }


def test_the_floors_are_those_of_the_contract() -> None:
    floors = {folder: int(floor) for floor, folder in re.findall(r"^\| (\d+) \| `(\w+)/`", PAGE, re.MULTILINE)}
    assert floors == {part: floor for part, floor in layers().items() if part in floors}
    assert {part for part in layers() if (FRAMEWORK / part).is_dir()} < floors.keys()


def floor(file: str) -> tuple[int, int]:
    """Of a file, and of its wing in the runtime."""
    part, wing, *_ = file.split("/")
    wings = [{"host"}, {"orchestrator", "participant", "subscriber"}, {"client"}]
    return layers()[part], next((number for number, one in enumerate(wings) if wing in one), 0)


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_no_arrow_of_a_way_points_up(way: dict[int, Stop]) -> None:
    for stop in way.values():
        for above, below in arrows(way, stop):
            assert floor(above) >= floor(below), f"{above} -> {below}"


def test_every_folder_is_on_the_page() -> None:
    folders = {f"{one.parent.relative_to(FRAMEWORK)}/" for one in FRAMEWORK.rglob("*/__init__.py")}
    assert len(folders) > 20
    assert folders - set(re.findall(r"`([\w/]+/)`", PAGE)) - {"./"} == set()


# --- nothing is left off ----------------------------------------------------------------------------------------------


class PlaceBook(Message):
    title: str


class TakeBook(Command[Done], name="take-book"):
    title: str


class GiveBack(Command[Done], name="give-back"):
    title: str


class SendBook(Command[Done], name="send-book"):
    title: str


class BookSent(Fact, name="book-sent"):
    title: str


def take_book(placed: PlaceBook) -> TakeBook:
    return TakeBook(title=placed.title)


def give_back(placed: PlaceBook) -> GiveBack:
    return GiveBack(title=placed.title)


def send_book(placed: PlaceBook) -> SendBook:
    return SendBook(title=placed.title)


def book_sent(placed: PlaceBook) -> BookSent:
    return BookSent(title=placed.title)


LENDING = Saga(
    "lending", start=PlaceBook, key=lambda placed: placed.title,
    steps=(Step(take_book, to="shelf", compensation=give_back), Pivot(send_book, to="shelf")), completed=book_sent,
)  # fmt: skip


def lending(heard: asyncio.Event) -> App:
    shelf, reader = Service("shelf"), Service("reader")

    @shelf.handles(TakeBook)
    async def take(command: TakeBook, database: Transaction) -> Done:
        return Done()

    @shelf.handles(GiveBack)
    async def give(command: GiveBack, database: Transaction) -> Done:
        return Done()

    @shelf.handles(SendBook)
    async def send(command: SendBook, database: Transaction) -> Done:
        return Done()

    @reader.on(BookSent)
    async def read(fact: BookSent, database: Transaction) -> None:
        heard.set()

    return App("library", sagas=[LENDING], services=[shelf, reader])


BY_THEMSELVES = {
    "runtime/orchestrator/retention.py", "runtime/orchestrator/stuck.py",
    "runtime/host/retention.py", "runtime/host/rooms.py", "runtime/host/vitals.py",
}  # fmt: skip
"""What runs now and then, and so on a busy machine between any two steps of a saga."""


async def test_whatever_runs_in_a_saga_that_goes_well_is_on_the_page() -> None:
    heard, ran = asyncio.Event(), set[str]()
    root = f"{FRAMEWORK}/"

    def note(frame: FrameType, event: str, argument: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(root):
            ran.add(file.removeprefix(root))

    async with running(lending(heard)) as client:
        await client.run(LENDING, PlaceBook(title="Medea"))
        await heard.wait()  # all that runs at first has run
        heard.clear()
        sys.setprofile(note)
        try:
            await client.run(LENDING, PlaceBook(title="Antigone"))
            await heard.wait()
        finally:
            sys.setprofile(None)
    on_the_page = {file for file, _ in _NAMED.findall(PAGE)}
    ran = {file for file in ran if file.partition("/")[0] in LAYERS}
    assert len(ran) > 30
    assert ran - on_the_page - BY_THEMSELVES == set()
