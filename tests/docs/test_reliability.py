"""The page on reliability names tests, which must exist; that on simulation says how much runs before a merge."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reliability.md"
NAMED = re.findall(r"`(tests/[\w/]+\.py)::([\w.:]+)`", PAGE.read_text())
FOLDERS = re.findall(r"`(tests/[\w/]+/)`", PAGE.read_text())


@cache
def defined_in(file: str) -> set[str]:
    """What the file defines: `function`, `Class` and `Class::method`."""
    names: set[str] = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            names.update(f"{node.name}::{inner.name}" for inner in ast.walk(node) if hasattr(inner, "name"))
    return names


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED)), ids=lambda part: part.rpartition("/")[2])
def test_a_test_that_the_page_names_exists(file: str, test: str) -> None:
    assert test in defined_in(file)


@pytest.mark.parametrize("folder", sorted(set(FOLDERS)))
def test_a_folder_that_the_page_names_holds_tests(folder: str) -> None:
    assert list((ROOT / folder).glob("test_*.py"))


def test_every_clause_of_the_promise_is_held() -> None:
    clauses = [line for line in PAGE.read_text().split("## The conditions")[0].splitlines() if line.startswith("| ")]
    unheld = [line for line in clauses if "| clause" not in line and "tests/" not in line]
    assert clauses
    assert not unheld


def test_the_page_says_how_much_is_simulated_before_each_merge() -> None:
    """Each target draws two applications."""
    port, frames = (int(number) for number in re.findall(r'ARGS="--campaigns (\d+)"', (ROOT / ".ci/run").read_text()))
    said = f"{2 * frames:,} of the {2 * (port + frames):,} runs before each merge"
    assert said in (ROOT / "docs/simulation.md").read_text()
