"""`choros verify`, as somebody types it in a folder with a saga of their own."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from choros import cli
from choros_verify.exploration.report import PARKED
from tests.exploration import trips

FEW = ("--duplicates", "0", "--crashes", "0", "--retries", "0")


class Said(NamedTuple):
    code: int
    out: str
    err: str


Verify = Callable[..., Said]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Types `choros verify` in a folder with `travel.py`, in this process."""
    (tmp_path / "travel.py").write_text(Path(trips.__file__).read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("CHOROS_NAMESPACE", raising=False)

    def type_(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["choros", "verify", *arguments])
        monkeypatch.delitem(sys.modules, "travel", raising=False)
        code: object = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.modules.pop("travel", None)
        said = capsys.readouterr()
        return Said(int(str(code)), said.out, said.err)

    return type_


def test_it_says_what_it_walked_through(verify: Verify) -> None:
    said = verify("travel")
    assert (said.code, said.err) == (0, "")
    *out, _, ended, terminated, verdict_of_the_ended = said.out.splitlines()
    head, budgets, ends, *parked, verdict, _, aged, _, verdict_of_the_aged = out
    assert head.startswith("saga trip (version 1): ")
    for word in ("states", "transitions", " s, ", "MiB at most"):
        assert word in head
    assert "1 duplicate, 1 crash, 1 retry;" in budgets
    assert "compensated in" in ends and "parked in" in ends
    assert parked == list(PARKED), "what frightens is explained, and once"
    assert all(len(line) <= 80 for line in parked)
    assert "1 duplicate, 0 crashes, 1 retry, 1 horizon;" in aged
    assert ended.endswith("; refusals, failures, silence, terminate, settle at every moment")
    assert "terminated in" in terminated
    for one in (verdict, verdict_of_the_aged, verdict_of_the_ended):
        assert one == "✔ complete: every interleaving within these budgets, and no promise was broken"


@pytest.mark.long
def test_budgets_can_be_given(verify: Verify) -> None:
    assert "0 duplicates, 0 crashes, 0 retries;" in verify("travel:app", *FEW, "--saga", "trip").out
    long = verify("travel", "--long", "--crashes", "0", "--duplicates", "1", "--max-states", "10")
    assert "1 duplicate, 0 crashes, 1 retry;" in long.out


def test_a_cap_is_named(verify: Verify) -> None:
    said = verify("travel", "--max-states", "10")
    assert said.code == 0
    assert "NOT complete" in said.out
    assert "✔" not in said.out


def test_a_report_as_json(verify: Verify, tmp_path: Path) -> None:
    said = verify("travel", *FEW, "--json", "found.json")
    assert said.code == 0
    report = json.loads((tmp_path / "found.json").read_text())
    (saga,) = report["sagas"]
    assert report["schema"] == "choros.verify/1"
    assert (saga["saga"], saga["version"], saga["complete"], saga["held"]) == ("trip", 1, True, True)
    assert saga["states"] > 50
    assert saga["story"] == []


@pytest.mark.long
def test_every_mutant_is_caught_and_told(verify: Verify, tmp_path: Path) -> None:
    said = verify("travel", *FEW, "--mutants", "--json", "found.json")
    assert said.code == 0
    assert "✔ mutant 'no tombstone': An undo that finds nothing leaves no trace." in said.out
    assert "So the saga is compensated, but book_room still stands (invariant 3)." in said.out
    assert "✖" not in said.out
    assert re.search(r"✔ all \d+ mutants that concern this saga caught$", said.out)
    mutants = json.loads((tmp_path / "found.json").read_text())["sagas"][0]["mutants"]
    assert all(one["caught"] for one in mutants)
    assert max(len(one["report"]["story"]) for one in mutants if one["report"]) <= 12


@pytest.mark.long
def test_every_combination_through_the_real_runtime(verify: Verify, tmp_path: Path) -> None:
    said = verify("travel", *FEW, "--real-code", "--json", "found.json")
    assert said.code == 0
    assert "through the real runtime: every combination of outcomes" in said.out
    real = json.loads((tmp_path / "found.json").read_text())["sagas"][0]["real_code"]
    assert real["complete"]
    assert real["runs"] > 50
    assert real["violations"] == []


def test_a_saga_that_breaks_a_promise_exits_with_one_and_tells_the_story(
    verify: Verify, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from choros.saga.machine import answers
    from choros_verify.exploration import mutated

    monkeypatch.setattr(answers, "_is_awaited", mutated.late_ok_accepted.instead)
    said = verify("travel", "--json", "found.json")
    assert said.code == 1
    assert "✖ a reply that came too late changed the saga (invariant 8)" in said.out
    assert "  1. The saga is started. The orchestrator sends book_room (do)." in said.out
    saga = json.loads((tmp_path / "found.json").read_text())["sagas"][0]
    assert not saga["held"]
    assert not saga["complete"]
    assert saga["story"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "there is no such module"),
        (("travel", "--saga", "trap"), "There is no saga 'trap'"),
        (("travel", "--reply", "nonsense"), "is not TYPE=JSON"),
        (("travel", "--reply", "nonsense.v1={}"), "No step is answered with 'nonsense.v1'"),
        (("travel", "--reply", 'choros.done.v1={"more": 1}'), "--reply choros.done.v1: The body is no choros.done.v1"),
        (("travel", "--json", "nowhere/found.json"), "No file can be written at nowhere/found.json"),
        (("travel", "--duplicates", "9"), "--duplicates"),
    ],
)
def test_what_means_nothing_exits_with_two(verify: Verify, arguments: tuple[str, ...], words: str) -> None:
    said = verify(*arguments)
    assert said.code == 2
    assert words in said.err


def test_a_start_message_that_does_not_fit_is_refused(verify: Verify) -> None:
    said = verify("travel", "--start", '{"nonsense": 1}')
    assert said.code == 2
    assert "--start: The body is no book-trip.v1" in said.err and "the fields of BookTrip" in said.err


@pytest.mark.long
def test_messages_can_be_given(verify: Verify) -> None:
    said = verify("travel", *FEW, "--start", '{"trip": "Delphi"}', "--reply", "choros.done.v1={}")
    assert (said.code, said.err) == (0, "")


@pytest.mark.long
def test_on_a_terminal_it_shows_how_far_it_is(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("choros.cli.progress.wanted", lambda: True)
    monkeypatch.setattr("choros.cli.progress.AFTER", 0.0)
    said = verify("travel", *FEW)
    assert "states of trip" in said.err
    assert "events deep" not in said.out


@pytest.mark.long
def test_it_runs_each_saga_again(verify: Verify, tmp_path: Path) -> None:
    said = verify("travel", *FEW, "--again", "--json", str(tmp_path / "found.json"))
    assert (said.code, said.err) == (0, "")
    assert "cancel, terminate, settle, run again at every moment" in said.out
    (found,) = json.loads((tmp_path / "found.json").read_text())["sagas"]
    assert found["again"]["states"] > found["terminated"]["states"]
    assert found["again"]["complete"] and found["held"]
