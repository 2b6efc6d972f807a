"""Declarations that have changed under the same version, as a person meets them: check, list, show and move."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import SERVERS, STORE, TRAVEL, Choros, choros, started

__all__ = ["choros"]  # the fixture

RENAMED = TRAVEL.replace('Pivot(book_it, to="hotel")', 'Pivot(book_it, to="hotel", name="reserve_it")')
AS_RESERVE_IT = ("--rename", "book_it=reserve_it")
DIFFERENCE = "1 step here, 1 in the record: book_it is not in this declaration, reserve_it is not in the record"


def deploy(text: str) -> None:
    Path("travel.py").write_text(text, encoding="utf-8")
    shutil.rmtree("__pycache__", ignore_errors=True)  # bytecode goes by the second and the size: both may be the same


def test_a_pinned_saga_that_is_changed_fails_the_check_with_the_difference(choros: Choros) -> None:
    assert "travel.pins" not in choros("check", "travel").out
    said = choros("check", "travel", "--pin")
    assert (said.code, "✔ travel.pins says what 1 sagas are made of" in said.out) == (0, True)
    assert choros("check", "travel").code == 0
    deploy(RENAMED)
    said = choros("check", "travel")
    assert said.code == 1
    assert "1 step here, 1 in the pin file: book_it is not in this declaration" in said.err
    assert "choros check travel --pin" in said.err
    said = choros("check", "travel", "--pin")
    assert "pinned anew: saga 'trip' version 1" in said.out
    assert choros("check", "travel").code == 0


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("key=lambda trip: trip.who", 'key=lambda trip: trip.who + "!"', "its key is another function"),
        ("nights: int = 1", "nights: int = 2", "its start message has other fields"),
        ("[Saga(", '[Saga("more", start=Trip, steps=(Pivot(book_it, to="hotel"),)), Saga(', "'more' version 1 is not"),
        ('Saga("trip",', 'Saga("trip", version=2,', "'trip' version 1 is pinned, and not part of"),
    ],
)
def test_a_pin_also_says_whether_a_start_is_the_same_and_which_sagas_there_are(
    choros: Choros,
    old: str,
    new: str,
    sentence: str,
) -> None:
    choros("check", "travel", "some.pins", "--pin")
    assert old in TRAVEL
    deploy(TRAVEL.replace(old, new))
    said = choros("check", "travel", "some.pins")
    assert (said.code, sentence in said.err) == (1, True), said.err


def test_a_pin_file_that_is_named_must_be_there_and_be_one(choros: Choros) -> None:
    assert "There is no pin file" in choros("check", "travel", "nowhere.pins").err
    for content in (b"hello", b"saga x\n", b"\xff"):
        Path("bad.pins").write_bytes(content)
        said = choros("check", "travel", "bad.pins")
        assert (said.code, "pin file" in said.err) == (2, True), said.err


def test_a_check_on_a_store_names_who_would_be_left_alone(choros: Choros) -> None:
    started(choros)
    assert choros("check", "travel", *STORE).code == 0
    deploy(RENAMED)
    said = choros("check", "travel", *STORE)
    assert said.code == 1
    assert "✖ 1 live instance of saga 'trip' version 1 (" in said.out and DIFFERENCE in said.out
    deploy(TRAVEL.replace('Saga("trip",', 'Saga("trip", version=2,'))
    said = choros("check", "travel", *STORE)
    assert "version 1 is not in this application, here are versions 2" in said.out
    assert "1 live sagas would be left alone" in said.err


def test_list_and_show_say_that_a_saga_is_stuck_and_why(choros: Choros) -> None:
    saga_id = started(choros)
    assert "stuck" not in choros("saga", "list", "travel", *STORE).out
    deploy(RENAMED)
    for words in (("list", "travel"), ("show", "travel", saga_id)):
        assert f"stuck: {DIFFERENCE}" in choros("saga", *words, *STORE).out
        assert DIFFERENCE in choros("saga", *words, *STORE, "-o", "jsonl").out
    said = choros("saga", "cancel", "travel", saga_id, *SERVERS)
    assert (said.code, DIFFERENCE in said.err) == (2, True)


def test_a_stuck_saga_is_moved_where_that_is_safe(choros: Choros) -> None:
    saga_id = started(choros)
    second = TRAVEL.replace('Saga("trip",', 'Saga("trip", version=2,')
    deploy(second.replace('Pivot(book_it, to="hotel")', 'Pivot(book_it, to="hotel", name="reserve_it")'))
    said = choros("saga", "move", "travel", saga_id, "--to-version", "2", *SERVERS)
    assert (said.code, "it has come as far as book_it" in said.err) == (2, True)
    deploy(second)
    said = choros("saga", "move", "travel", saga_id, "--to-version", "2", *SERVERS)
    assert (said.code, said.out) == (0, "moved: it goes on as this version\n")
    shown = choros("saga", "show", "travel", saga_id, *STORE)
    assert "goes on as: version 2" in shown.out and "stuck" not in shown.out
    history: list[dict[str, Any]] = json.loads(choros("saga", "show", "travel", saga_id, *STORE, "-o", "json").out)[
        "history"
    ]
    assert [event["kind"] for row in history for event in row["events"]] == ["started", "sent", "moved"]


def test_a_plan_says_who_may_go_on_and_apply_moves_those(choros: Choros) -> None:
    saga_id = started(choros)
    second = TRAVEL.replace('Saga("trip",', 'Saga("trip", version=2,')
    words = ("travel", "trip", "--to-version", "2")
    deploy(second)
    planned = json.loads(choros("migrate", "plan", *words, *STORE, "-o", "json").out)
    assert [(one["saga_id"], one["verdict"], one["why"], one["undo"]) for one in planned] == [(saga_id, "safe", "", [])]
    deploy(second.replace('Pivot(book_it, to="hotel")', 'Pivot(book_it, to="hotel", name="reserve_it")'))
    said = choros("migrate", "plan", *words, *STORE)
    assert "needs a mapping" in said.out and "book_it is called reserve_it here" in said.out
    assert said.err == "where only names differ: --rename book_it=reserve_it\n"
    said = choros("migrate", "apply", *words, *SERVERS)
    assert (said.code, said.out) == (0, "0 moved, 1 left as they are\n")
    renamed = json.loads(choros("migrate", "plan", *words, *STORE, *AS_RESERVE_IT, "-o", "json").out)
    assert [(one["verdict"], one["why"], one["mapping"]) for one in renamed] == [("safe", "", {})]
    other = 'Pivot(book_it, to="hotel", name="reserve_it"), Retriable(book_it, to="hotel", name="again")'
    deploy(second.replace('Pivot(book_it, to="hotel")', other).replace("Pivot, Saga", "Pivot, Retriable, Saga"))
    said = choros("migrate", "plan", *words, *STORE)
    assert "stuck" in said.out and "it has come as far as book_it" in said.out
    deploy(second)
    said = choros("migrate", "apply", *words, *SERVERS, "--reason", "release 7")
    assert (said.code, said.out) == (0, "1 moved, 0 left as they are\n")
    assert "release 7" in choros("saga", "show", "travel", saga_id, *STORE).out
    assert choros("migrate", "plan", *words, *STORE).err == "no live saga follows another declaration\n"
    assert choros("migrate", "apply", *words, *SERVERS).out == "0 moved, 0 left as they are\n"


def test_what_is_called_otherwise_is_moved_under_its_new_name_once(choros: Choros) -> None:
    saga_id = started(choros)
    words = ("travel", "trip", "--to-version", "2")
    deploy(RENAMED.replace('Saga("trip",', 'Saga("trip", version=2,'))
    told = {
        "one": "--rename one does not say what is called how. Try: --rename charge=take_payment.",
        "=a": "--rename =a does not say",
        "hotel=reserve_it": "it has no 'hotel' to be called otherwise",
        "book_it=else": "book_it cannot be called 'else', which is not in the other version",
    }
    for given, sentence in told.items():
        said = choros("saga", "move", "travel", saga_id, "--to-version", "2", "--rename", given, *SERVERS)
        assert (said.code, sentence in said.err) == (2, True), said.err
    for again in ("book_it=other", "other=reserve_it"):
        said = choros("migrate", "plan", *words, *AS_RESERVE_IT, "--rename", again, *STORE)
        assert (said.code, f"--rename {again} names a step that was named before" in said.err) == (2, True)
    moved = choros("migrate", "apply", *words, *AS_RESERVE_IT, *SERVERS)
    assert moved.out == "1 moved, 0 left as they are\n"
    assert choros("migrate", "apply", *words, *AS_RESERVE_IT, *SERVERS).out == "0 moved, 0 left as they are\n"
    assert (
        "goes on as: version 2, book_it is called reserve_it" in choros("saga", "show", "travel", saga_id, *STORE).out
    )
    (row,) = json.loads(choros("saga", "list", "travel", *STORE, "-o", "json").out)
    assert row["step"] == "reserve_it"


def test_a_plan_for_what_is_not_there_is_a_sentence(choros: Choros) -> None:
    started(choros)
    for name, version in (("trip", "7"), ("tripp", "1")):
        said = choros("migrate", "plan", "travel", name, "--to-version", version, *STORE)
        assert (said.code, f"no saga {name!r} version {version}" in said.err) == (2, True)
