"""The page for those who come from elsewhere: every kind of node stands there, and what it says in our words exists."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import choros
from choros.cli import main
from choros.saga import nodes

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text()
ROWS = [line[1:-1].replace("\\|", "/").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
HERE = [code for row in ROWS for code in re.findall(r"`([^`]+)`", row[0])]
CALLS = [call for code in HERE for call in re.findall(r"(\b[A-Z]\w+)\((.*)\)", code)]


def test_every_kind_of_node_stands_there() -> None:
    assert set(nodes.__all__) - {"Branch", "Reminder"} <= {re.split(r"\W", code)[0] for code in HERE}


@pytest.mark.parametrize(("name", "said"), CALLS)
def test_what_is_said_here_can_be_said(name: str, said: str) -> None:
    taken = inspect.signature(getattr(choros, name)).parameters
    assert set(re.findall(r"(\w+)=", re.sub(r"\w+\(.*?\)", "", said))) <= taken.keys()


@pytest.mark.parametrize("command", [code for code in HERE if code.startswith("choros ")])
def test_a_command_exists(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", [*command.split(), "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert f"Usage: {command} " in capsys.readouterr().out


def test_every_row_has_all_five() -> None:
    assert {len(row) for row in ROWS} == {5}
