"""The suite says how long it took, by folder."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from tests.conftest import pytest_terminal_summary


class Terminal:
    """As much of pytest's as this needs."""

    def __init__(self, *reports: pytest.TestReport) -> None:
        self.stats: dict[str, list[object]] = {"passed": [*reports], "warnings": [object()]}
        self.written: list[str] = []

    def section(self, title: str) -> None:
        self.written.append(title)

    def write_line(self, line: str) -> None:
        self.written.append(" ".join(line.split()))


def report(name: str, when: Literal["setup", "call", "teardown"], seconds: float) -> pytest.TestReport:
    return pytest.TestReport(name, ("", None, ""), {}, "passed", None, when, duration=seconds)


def said(*reports: pytest.TestReport) -> list[str]:
    terminal: Any = Terminal(*reports)
    pytest_terminal_summary(terminal)
    return list(terminal.written)


def test_every_phase_counts_and_the_slowest_comes_first() -> None:
    assert said(
        report("tests/saga/test_a.py::one[x/y]", "call", 1.0),
        report("tests/test_b.py::two", "call", 0.5),
        report("tests/store/test_c.py::three", "setup", 2.0),
        report("tests/store/test_c.py::three", "call", 1.5),
        report("tests/store/test_c.py::three", "teardown", 0.25),
    ) == [
        "time by folder", "3.8 s 1 tests tests/store", "1.0 s 1 tests tests/saga", "0.5 s 1 tests tests",
        "5.2 s 3 tests",
    ]  # fmt: skip


def test_one_folder_needs_no_table() -> None:
    assert said(report("tests/saga/test_a.py::one", "call", 1.0)) == []
