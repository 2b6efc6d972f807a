"""The table is whole, and what it names exists."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.fault_cases.cases import CASES, Case

ROOT = Path(__file__).parents[2]


def test_all_forty_are_there_in_their_order() -> None:
    assert [case.number for case in CASES] == list(range(1, 41))


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.number))
def test_every_case_is_held_by_tests_that_exist(case: Case) -> None:
    assert case.held
    for test in case.held:
        path, _, name = test.partition("::")
        assert name in functions_of(path), test


@cache
def functions_of(path: str) -> frozenset[str]:
    """Names of the tests in a file."""
    found = ast.walk(ast.parse((ROOT / path).read_text()))
    functions = (node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in functions if name.startswith("test_"))
