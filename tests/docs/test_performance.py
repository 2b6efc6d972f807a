"""docs/performance.md, held to the benchmarks: what it names is there, and its tables are those that they write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.contestants import CHOROS, HAND_PACKED, LOCAL, MANY, STOCK, STOCK_REDIS
from benchmarks.demands import DEMANDS, verdicts
from benchmarks.measuring import Figures
from benchmarks.page import PAGE, marks, put
from benchmarks.pattern import Pattern
from benchmarks.stage.decisions import decision_stages, machine_stages
from benchmarks.stage.frames import frame_stages
from benchmarks.stage.services import relay_stages
from benchmarks.stage.wire import text_stages, wire_stages
from tests.budgets import FRAMEWORK, ROOT
from tests.docs.test_architecture import has

TEXT = PAGE.read_text()
SECTIONS = re.findall(r"<!-- (?!end of )(.*) -->", TEXT)


def section(name: str) -> str:
    begin, end = marks(name)
    return TEXT.partition(begin)[2].partition(end)[0]


def rows(name: str) -> list[list[str]]:
    lines = [line for line in section(name).splitlines() if line.startswith("| ") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_section_is_written_by_a_command_of_the_makefile() -> None:
    assert SECTIONS == ["rates", "stages", "growth", "waiting", "length", "soak"]
    makefile = (ROOT / "Makefile").read_text()
    for name in re.findall(r"`make ([a-z-]+)", TEXT):
        assert f"\n{name}:" in makefile
    for name in SECTIONS:
        assert "--page" in TEXT.partition(marks(name)[0])[0].rpartition("\n## ")[2]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_was_measured_on(name: str) -> None:
    assert re.match(r"\d+ cores, .*, load [\d.]+, .*; choros .*, python 3", section(name).strip())


def test_the_rates_have_a_row_for_everybody_at_every_level() -> None:
    found = {(row[0], row[1]) for row in rows("rates")}
    for name in (STOCK, STOCK_REDIS, HAND_PACKED, CHOROS, f"{CHOROS}, two processes"):
        assert {(level, name) for level in ("1", "10", "100", "1000")} <= found
    others = (f"{CHOROS}, compensated", f"{CHOROS}, {MANY} subscribers", f"{CHOROS}, two orchestrators", LOCAL)
    assert {name for _, name in found} >= set(others)


def test_every_demand_is_answered() -> None:
    answered = {row[0]: row[1] for row in rows("rates") if len(row) == 4}
    assert {one.what: one.row({})[1] for one in DEMANDS}.items() <= answered.items()


def test_a_demand_says_whether_it_is_held() -> None:
    def measured(rate: float, cpu: float) -> list[Figures]:
        return [Figures(1, 100, rate, 1.0, 1.0, cpu)]

    slow = {(100, STOCK_REDIS): measured(100, 2), (100, CHOROS): measured(200, 1.5)}
    fast = {(100, STOCK_REDIS): measured(100, 2), (100, CHOROS): measured(240, 0.9)}

    assert [row[3] for row in verdicts(slow)[2:5]] == ["**no**", "not measured", "**no**"]
    assert [row[3] for row in verdicts(fast)[2:5]] == ["yes", "not measured", "yes"]


def test_the_stages_are_those_that_are_measured() -> None:
    """A stage whose number or aim has changed since is to be measured again."""
    pattern = Pattern()
    pure = (decision_stages, machine_stages, relay_stages, wire_stages, frame_stages, text_stages)
    named = {row[0].removeprefix("(in those) "): (row[1], row[4]) for row in rows("stages")}
    for stage in (stage for stages in pure for stage in stages(pattern)):
        assert named[stage.name] == (f"{stage.times:g}", f"{stage.wanted:g}")


def test_files_and_functions_that_it_names_exist() -> None:
    for file, name in re.findall(r"`([\w/]+\.py)` `([\w.]+)`", TEXT):
        assert (FRAMEWORK / file).exists(), file
        assert has(file, name), f"{file} {name}"


def test_what_people_have_written_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- rates -->\nold\n<!-- end of rates -->\nafter\n")

    put("rates", "new\n", page)
    put("rates", "newer\n", page)

    assert page.read_text() == "before\n<!-- rates -->\n\nnewer\n\n<!-- end of rates -->\nafter\n"
    with pytest.raises(ValueError, match="has no section 'other'"):
        put("other", "new", page)
