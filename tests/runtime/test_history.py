"""What a transition did: as it is written, and as it is read, whoever has written it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from choros.desk.timeline import timeline
from choros.runtime.client.account import Account
from choros.runtime.orchestrator.history import UNREADABLE, Happened, as_data, read_history, write_history
from choros.runtime.orchestrator.work import Move, Start, Work
from choros.saga.machine.inputs import (
    CancelRequested,
    Event,
    PauseRequested,
    RerunRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
)
from choros.saga.machine.instance import Instance
from choros.store.records import unreadable
from choros.store.sagas import HistoryRow
from choros.testing.conformance.stage import fact
from tests.carried.test_carried import HERE, VERSIONS

OF_AN_EVENT = [one.name for one in fields(Event) if one.name != "detail"]


def carried(version: str) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as left_behind:
        left_behind.executescript(Path(HERE, version, "sagas.sql").read_text(encoding="utf-8"))
        return [events for (events,) in left_behind.execute("SELECT events FROM history")]


OF_AN_ACT = ("act", "by", "reason")


def shown(*texts: str) -> list[str]:
    """What a person sees of a history of these rows."""
    rows = tuple(HistoryRow(version, 1.0, text) for version, text in enumerate(texts, 1))
    return list(timeline(Account(unreadable("s1", ()), Instance("s1", ""), rows), None))[2:]


def test_a_choice_says_by_which_of_its_branches_the_saga_goes() -> None:
    chosen = [Event("chosen", "book.wants_car", code=code) for code in ("wants_car", "otherwise")]
    lines = shown(write_history([*chosen, Event("chosen", "wants_car", code="wants_car")], [], "", {}))
    assert [line.split() for line in lines] == [
        ["◆", "book.wants_car", "goes", "by", "wants_car"],
        ["◆", "book.wants_car", "goes", "by", "otherwise"],
        ["◆", "wants_car", "goes", "by", "wants_car"],
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_older_version_has_written_is_understood_and_would_be_written_so_today(version: str) -> None:
    for text in carried(version):
        told = read_history(text)
        events = [Event(**{name: getattr(one, name) for name in OF_AN_EVENT}) for one in told if not one.envelope]
        facts = [one.fact().dumps() for one in told if one.kind == "fact"]
        (declared,) = {one.declaration for one in told if one.declaration} or {""}
        signed = {
            one.cause: {name: one.stored[name] for name in OF_AN_ACT if name in one.stored} for one in told if one.act
        }
        assert write_history(events, facts, declared, signed) == text
        assert [one.stored for one in told] == json.loads(text)
    assert len(carried(version)) == 26


def test_a_transition_s_history_keeps_its_form() -> None:
    """Stores hold years of them, and an older choros reads them beside this one."""
    events = [
        Event("unparked", "charge", cause="a1"),
        Event("sent", "charge", "do", 2, cause="a1", detail="never kept"),
        Event("retry_scheduled", "charge", "do", 3, seconds=2.5),
        Event("refused", "charge", "do", 2, "no", cause="m1"),
    ]
    released = fact(1).dumps()
    signed = {"a1": {"act": "retry", "by": "ada"}, "a2": {"act": "cancel"}}
    assert write_history(events, [released], "the text", signed) == (
        '[{"kind":"unparked","step":"charge","cause":"a1","act":"retry","by":"ada","declaration":"the text"},'
        '{"kind":"sent","step":"charge","operation":"do","attempt":2,"cause":"a1"},'
        '{"kind":"retry_scheduled","step":"charge","operation":"do","attempt":3,"seconds":2.5},'
        '{"kind":"refused","step":"charge","operation":"do","attempt":2,"code":"no","cause":"m1"},'
        f'{{"kind":"fact","envelope":{json.dumps(released)}}}]'
    )
    assert write_history([], [], "the text", {}) == '[{"kind":"declared","declaration":"the text"}]'
    assert write_history([], [], "", {}) == ""


def test_what_a_newer_choros_has_noted_is_shown_as_it_is() -> None:
    text = '[{"kind":"branch_lost","step":"left","code":"slow","lost":["a",{"b":1}]},{"kind":"sent","lane":7}]'
    lost, sent = read_history(text)
    assert (lost, sent) == (Happened("branch_lost", "left", code="slow"), Happened("sent"))
    assert [one.split() for one in shown(text)] == [["·", "left", "branch_lost:", "slow"]]
    (row,) = as_data([HistoryRow(1, 2.0, text)])
    assert row == {"version": 1, "at": 2.0, "events": json.loads(text)}


RUBBISH = {
    "no JSON": '[{"kind":', "no list": '{"kind":"sent"}', "a number": "7", "a text": '"sent"', "texts": '["sent"]',
    "no kind": '[{"kind":"sent"},{"step":"charge"}]', "another kind of kind": '[{"kind":1}]', "deep": "[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("text", RUBBISH.values(), ids=RUBBISH.keys())
def test_what_somebody_has_broken_is_shown_as_unreadable_and_hides_nothing_else(text: str) -> None:
    assert read_history(text) == [Happened(UNREADABLE)]
    assert as_data([HistoryRow(1, 2.0, text)])[0]["events"] == [{"kind": UNREADABLE}]
    words = " ".join(shown(text, '[{"kind":"paused"}]')).split()
    assert " ".join(words) == "? what happened here cannot be read ‖ paused"


@pytest.mark.parametrize("wrong", ["two", 2.5, True, None, [2], {"a": 2}], ids=str)
def test_a_member_that_is_not_what_it_was_is_not_believed(wrong: object) -> None:
    stored = {"kind": "retry_scheduled", "step": "charge", "attempt": wrong, "seconds": [wrong], "by": 7, "act": wrong}
    (one,) = read_history(json.dumps([stored]))
    act = wrong if isinstance(wrong, str) else ""
    assert one == Happened("retry_scheduled", "charge", act=act)
    assert one.stored == stored
    assert "attempt 0 in 0.0 s" in shown(json.dumps([stored]))[0]


@pytest.mark.parametrize("envelope", ["", "{", "[]", '{"kind":"fact"}', "null"])
def test_a_fact_that_cannot_be_read_says_so_when_it_is_wanted(envelope: str) -> None:
    (one,) = read_history(json.dumps([{"kind": "fact", "envelope": envelope}]))
    with pytest.raises(ValueError, match=r"."):
        one.fact()


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (CancelRequested("a"), "cancel"), (RetryRequested("a", "s", 1), "retry"), (PauseRequested("a"), "pause"),
        (SkipRequested("a", "s", 1, ""), "skip"), (ResumeRequested("a"), "resume"),
        (RerunRequested("a", "s", "b"), "rerun"), (Move("a", 2, ""), "move"), (Start("a", "", 1, "", "", ""), "start"),
    ],
)  # fmt: skip
def test_the_word_for_an_act_is_the_one_that_histories_have(given: Start | Move, word: str) -> None:
    assert Work("s1", given).signed == {"act": word}
