"""The inputs of a saga are values: what each is known by, and what is kept of a reply that nobody here can judge."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from choros.errors import DeclaredOtherwise
from choros.runtime.orchestrator.work import Due, Move, Start, Unjudged, Work
from choros.saga.machine.inputs import Act, PauseRequested
from choros.wire.envelope import Envelope
from tests.carried.test_carried import HERE, VERSIONS

REPLY = Envelope(
    id="m1", kind="reply", type="choros.done.v1", source="/shop/payment", time=1.0, data="{}", correlation_id="s1",
    causation_id="c1", key="s1:charge:1:do", saga="order", saga_version=7, step="charge", attempt=1, outcome="ok",
)  # fmt: skip


def test_each_is_known_by_an_id_of_its_own_but_that_the_store_has_handed_the_saga_out() -> None:
    start, move = Start("a2", "", 1, "", "", ""), Move("a3", 2, "")
    given: list[Act | Start | Move | Unjudged | Due] = [PauseRequested("a1"), start, move, Unjudged(REPLY), Due()]
    assert [Work("s1", one).id for one in given] == ["a1", "a2", "a3", "m1", ""]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reply_that_an_older_version_has_set_aside_is_read(version: str) -> None:
    table = "saga" if version == "3bacf40" else "record"
    with closing(sqlite3.connect(":memory:")) as left_behind:
        left_behind.executescript(Path(HERE, version, "sagas.sql").read_text(encoding="utf-8"))
        columns = left_behind.execute(f"SELECT undecided FROM {table}").fetchall()
    (text,) = [one for (texts,) in columns for one in json.loads(texts)]
    reply = Unjudged.loads(text)
    assert reply.envelope.subject == "set aside"
    assert reply.envelope.dumps() == text


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "7", "{}", '{"kind":"reply"}', REPLY.dumps()[:-1] + ',"lane":1}']
)
def test_one_that_only_a_newer_version_can_read_stays_where_it_is(text: str) -> None:
    with pytest.raises(DeclaredOtherwise, match="in a format that this choros does not know"):
        Unjudged.loads(text)
