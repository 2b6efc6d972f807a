"""What a user may import: no more and no less than names.txt says, and all that the pages show."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import choros
from tests.budgets import FACES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "examples/README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))
PINNED = (Path(__file__).parent / "names.txt").read_text().split()
"""Each name with its face. Who changes a face changes this file: what was in it is what users rely on."""


def test_the_faces_export_what_is_pinned() -> None:
    assert sorted(f"{face}.{name}" for face in FACES for name in importlib.import_module(face).__all__) == PINNED


def code_of(page: Path) -> Iterator[ast.stmt]:
    """Every statement at the top of its Python blocks, or of a program."""
    if page.suffix == ".py":
        yield from ast.parse(page.read_text()).body
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        yield from ast.parse(block).body


def imported_by(code: Iterator[ast.stmt]) -> Iterator[str]:
    """The names that it imports from us, each with its module; a module that is imported whole as it stands."""
    for statement in code:
        if isinstance(statement, ast.ImportFrom):
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
        elif isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)


def is_ours(name: str) -> bool:
    return name.partition(".")[0] in ("choros", "choros_verify")


def deeper(name: str) -> bool:
    """It is a module that is no face, or stands in one. (Log events and message types have dots as well.)"""
    path = ROOT / "framework" / name.replace(".", "/")
    is_module = path.is_dir() or path.with_suffix(".py").is_file()
    return (is_module and name not in FACES) or path.parent.with_suffix(".py").is_file()


@pytest.mark.parametrize("page", [*PAGES, *PROGRAMS], ids=lambda page: page.name)
def test_the_code_of_a_page_imports_from_the_faces(page: Path) -> None:
    assert {name for name in imported_by(code_of(page)) if is_ours(name)} <= {*PINNED, *FACES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_no_deeper_path(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    named: list[str] = re.findall(r"(?<![\w./-])choros(?:_verify)?(?:\.\w+)+(?!\.\*|\w)", text)
    assert not [name for name in named if deeper(name)]


@pytest.mark.parametrize("name", ["choros.testing.dialogue", "choros.store.redis.barrier.RedisTransaction"])
def test_a_deeper_path_is_known(name: str) -> None:
    assert deeper(name)


@pytest.mark.slow
def test_a_face_waits_for_nothing_that_it_does_not_need() -> None:
    late = {"pytest", "typer", "fastapi", "aio_pika", "redis", "choros.transport.rabbitmq", "choros.transport.memory"}
    code = f"from choros import *; import choros.testing, sys; print(*{late} & sys.modules.keys())"
    assert said_by(code) == "\n"


@pytest.mark.slow
def test_a_package_of_contracts_loads_nothing_that_it_does_not_use() -> None:
    code = (
        "from choros import Command, Done, Fact, Reply; import sys; print(*(m for m in sys.modules if 'choros.' in m))"
    )
    loaded = said_by(code).split()
    assert "choros.messages" in loaded
    assert not [name for name in loaded if name.startswith(("choros.app", "choros.saga", "choros.store", "choros.r"))]


def test_a_name_is_loaded_from_where_type_checkers_find_it() -> None:
    tree = ast.parse(Path(choros.__file__).read_text())
    imports = [one for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)]
    homes = {
        name.name: one.module for one in imports for name in one.names if one.module and name.name in choros.__all__
    }
    found = {name: getattr(importlib.import_module(home), name) for name, home in homes.items()}
    assert found.keys() == set(choros.__all__)
    assert [name for name in choros.__all__ if getattr(choros, name) is not found[name]] == []
    assert set(dir(choros)) > found.keys()


def test_a_name_that_there_is_not_is_said() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Sagas' from 'choros'"):
        exec("from choros import Sagas")


def said_by(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout
