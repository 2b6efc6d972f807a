"""What commands print: on a terminal of 80 columns, in a pipe, as JSON; colours and progress."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator

import pytest
import typer
from rich.cells import cell_len

from choros.cli import output, progress
from choros.cli.output import Column, field, piped, styled, table, tell_lines, tell_rows
from choros.cli.progress import working
from choros.cli.saga import _tell_outcome
from choros.messages import Failure
from choros.runtime.client.outcome import Outcome

COLUMNS = [
    Column("ID", field("saga_id"), least=8, id=True),
    Column("KEY", field("key"), least=6),
    Column("STATUS", field("status"), colour=lambda _: "red"),
    Column("REASON", field("reason"), least=10),
    Column("PAUSED", field("paused")),
]
ROW = {"saga_id": "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "key": "o2", "status": "parked", "reason": "", "paused": ""}
LONG = ROW | {"key": "order-of-somebody", "reason": "ship_order (do) is in doubt after 8 attempts: timeout " * 3}


class Terminal(io.StringIO):
    """What a person reads."""

    def isatty(self) -> bool:
        return True


Sit = Callable[[], Terminal]


@pytest.fixture
def sit_down(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sit]:
    """To be called in the test: what captures its output begins after the fixtures."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def sit() -> Terminal:
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setattr(sys, "stderr", screen)
        return screen

    yield sit
    output.be_quiet(False)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 400])
@pytest.mark.parametrize("rows", [[ROW], [LONG], [ROW, LONG], [LONG | {"key": "注文" * 40, "paused": "paused"}]])
def test_no_line_is_wider_than_the_terminal(rows: list[dict[str, str]], width: int) -> None:
    header, *lines = table(rows, COLUMNS, width)
    assert len(lines) == len(rows)
    assert all(cell_len(line) <= width for line in [header, *lines])
    assert header.startswith("ID ") and ROW["saga_id"][:8] == lines[0][:8]


def test_what_fits_is_whole_and_what_does_not_says_so() -> None:
    _, line = table([LONG], COLUMNS, 400)
    assert ROW["saga_id"] in line and LONG["reason"].strip() in line and "…" not in line
    header, line = table([LONG], COLUMNS, 80)
    assert line.startswith("0198a1b2  order-of-somebody  parked  ship_order (do) is in") and line.endswith("…")
    assert "PAUSED" not in header, "nothing is paused, and there is no room"


def test_columns_stand_in_line_whatever_the_width_of_a_letter() -> None:
    lines = list(table([ROW | {"key": "注文"}, ROW | {"key": "abcd"}], COLUMNS, 120))
    starts = {cell_len(line[: line.index("parked")]) for line in lines[1:]}
    assert starts == {cell_len(lines[0][: lines[0].index("STATUS")])}


def test_a_pipe_gets_whole_values_on_one_line_each() -> None:
    assert list(piped([LONG], COLUMNS)) == ["\t".join([*list(LONG.values())[:3], LONG["reason"], ""])]
    (line,) = piped([ROW | {"reason": "one\ttwo\nthree \x1b[31m"}], COLUMNS)
    assert line.split("\t")[3] == "one two three  [31m"


def test_a_terminal_has_a_header_and_colours(sit_down: Sit) -> None:
    terminal = sit_down()
    tell_rows([ROW], COLUMNS, "table", none="nothing")
    header, line = terminal.getvalue().splitlines()
    assert header.startswith("\x1b[1mID ")
    assert "\x1b[31mparked\x1b[0m" in line


def test_colours_go_by_what_is_said_of_them(sit_down: Sit, monkeypatch: pytest.MonkeyPatch) -> None:
    sit_down()
    assert styled("x", "red") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("TERM", "dumb")
    assert styled("x", "red") == "x"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert styled("x", "red") == "\x1b[31mx\x1b[0m"
    assert styled("x", "red", io.StringIO()) == "\x1b[31mx\x1b[0m", "in a pipe, too"
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("x", "red") == "x"


def test_a_pipe_has_neither(capsys: pytest.CaptureFixture[str]) -> None:
    tell_rows([ROW], COLUMNS, "table", none="nothing")
    assert capsys.readouterr().out == f"{ROW['saga_id']}\to2\tparked\t\t\n"


def test_json_is_the_same_everywhere(sit_down: Sit) -> None:
    terminal = sit_down()
    tell_rows([ROW], COLUMNS, "json", none="nothing")
    assert json.loads(terminal.getvalue()) == [ROW]


# --- progress ---------------------------------------------------------------------------------------------------------


def test_what_takes_its_time_says_how_far_it_is(sit_down: Sit, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = sit_down()
    monkeypatch.setattr(progress, "AFTER", 0.0)
    with working("counting sheep", 40) as so_far:
        so_far.at(17)
        assert "counting sheep" in terminal.getvalue() and "17/40" in terminal.getvalue()
    assert terminal.getvalue().endswith(("\x1b[2K", "\x1b[?25h", "\x1b[1A\x1b[2K")), "and is gone at the end"


def test_a_remark_stands_on_a_line_of_its_own(sit_down: Sit, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = sit_down()
    monkeypatch.setattr(progress, "AFTER", 0.0)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with working("counting sheep", 40) as so_far:
        so_far.at(17)
        output.remark("one is black")
        assert terminal.getvalue().endswith("\x1b[2Kone is black\n"), "the bar is cleared before"
        so_far.at(18)
        assert "18/40" in terminal.getvalue().rpartition("one is black")[2], "and drawn again behind it"
    assert output.in_the_way == []


def test_what_is_quick_says_nothing(sit_down: Sit) -> None:
    terminal = sit_down()
    with working("counting sheep", 40) as so_far:
        so_far.at(17)
    assert terminal.getvalue() == ""


def test_who_asks_for_quiet_has_it(sit_down: Sit, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = sit_down()
    monkeypatch.setattr(progress, "AFTER", 0.0)
    output.be_quiet(True)
    with working("counting sheep", 40) as so_far:
        so_far.at(17)
    assert terminal.getvalue() == ""


def test_a_pipe_sees_no_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "AFTER", 0.0)
    with working("counting sheep", 40) as so_far:
        so_far.at(17)
    assert capsys.readouterr() == ("", "")


def test_a_sentence_says_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """It may repeat the words of an exception, or of another service."""
    tell_lines(["✖ ship_order: refused (\x1b[2Jgone\udcfc)"])
    assert capsys.readouterr().out == "✖ ship_order: refused ( [2Jgone )\n"


def test_an_outcome_does_not_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """It repeats what a handler's exception says."""
    with pytest.raises(typer.Exit):
        _tell_outcome(Outcome("s1", "parked", parked="down \x1b[31mfor\nlong"), "table")
    assert capsys.readouterr().out == "s1 parked: down  [31mfor long\n"


def test_an_outcome_tells_what_the_saga_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    outcome: Outcome[Failure] = Outcome("s1", "completed", result=Failure(code="none"))
    _tell_outcome(outcome, "table")
    assert capsys.readouterr().out == ('s1 completed\nresult: {"code":"none","detail":"","step":"","kind":"refused"}\n')
    _tell_outcome(outcome, "json")
    assert json.loads(capsys.readouterr().out)["result"]["code"] == "none"
