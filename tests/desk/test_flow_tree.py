"""A flow as a tree of causes: what stands under what, and what each subscriber lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from choros.desk.dead_letters import DeadLetter
from choros.desk.flow_lines import flow_data, flow_lines
from choros.desk.flow_tree import (
    LATE_AFTER,
    FactNode,
    FlowRows,
    FlowTree,
    InboxNote,
    ReactionNode,
    SagaNode,
    TracedFact,
    TracedSaga,
    TracedStep,
    flow_tree,
)
from choros.desk.hearsay import FlowTerms, Hearer
from choros.store.barrier import RowState
from choros.store.sagas import Record
from choros.transport.port import Seen
from choros.wire.envelope import Envelope

NOW = 1_000_000.0
BOOKS, STORE, MAILS = (
    Hearer(fact="placed", name="books", queue="shop.facts.books", answers=("charged",), silent=False),
    Hearer(fact="charged", name="store", queue="shop.facts.store", undoes="placed"),
    Hearer(fact="charged", name="mails", queue="shop.facts.mails"),
)
HEARERS = {"placed": [BOOKS], "charged": [STORE, MAILS]}
AT_WORK = {queue: Seen("there", consumers=1) for queue in ("shop.facts.books", "shop.facts.store", "shop.facts.mails")}


def fact(id: str, type: str, source: str, **more: Any) -> Envelope:
    said: dict[str, Any] = {
        "time": NOW - 60, "data": "{}", "stream": "o1", "seq": 1, "correlation_id": "o1", **more,
    }  # fmt: skip
    return Envelope(id=id, kind="fact", type=type, source=source, **said)


PLACED = fact("f1", "placed", "/shop/program/till")
CHARGED = fact("f2", "charged", "/shop/service/books", causation_id="f1", time=NOW - 50)


def rows(*facts: Envelope, notes: dict[tuple[str, str], InboxNote] | None = None, **more: Any) -> FlowRows:
    known = {one.id: TracedFact(one, ("the fact log",)) for one in facts}
    return FlowRows(NOW, facts=known, notes=notes or {}, **{"queues": AT_WORK, **more})


def handled(at: float | None = NOW - 55) -> InboxNote:
    return InboxNote(handled=True, at=at)


LACKING = InboxNote(handled=False)


def root_of(tree: FlowTree) -> FactNode:
    (root,) = tree.roots
    assert isinstance(root, FactNode)
    return root


def standings(tree: FlowTree) -> dict[str, str]:
    return {one.reaction.hearer.name: one.reaction.standing for one in tree.to_come}


def test_a_fact_stands_under_the_reaction_that_published_it() -> None:
    tree = flow_tree(rows(CHARGED, PLACED, notes={("books", "f1"): handled(), ("mails", "f2"): handled()}), HEARERS)
    root = root_of(tree)
    assert (root.fact.envelope, root.by) == (PLACED, "program till")
    (books,) = root.reactions
    assert (books.standing, books.since) == ("handled", NOW - 55)
    (charged,) = books.then
    assert isinstance(charged, FactNode)
    assert charged.by == "books"
    assert {one.hearer.name: one.standing for one in charged.reactions} == {"store": "unknown", "mails": "handled"}


def test_who_has_published_something_has_handled_what_caused_it_also_where_its_inbox_was_not_asked() -> None:
    (books,) = root_of(flow_tree(rows(PLACED, CHARGED), HEARERS)).reactions
    assert (books.standing, books.since) == ("handled", CHARGED.time)


def test_who_publishes_on_a_fact_undeclared_is_there_all_the_same() -> None:
    odd = fact("f3", "noted", "/shop/service/audit", causation_id="f1")
    reactions = root_of(flow_tree(rows(PLACED, odd), HEARERS)).reactions
    assert [one.hearer.name for one in reactions] == ["books", "audit"]
    assert [one.fact.envelope.id for one in reactions[1].then if isinstance(one, FactNode)] == ["f3"]


@pytest.mark.parametrize(
    ("note", "seen", "age", "standing"),
    [
        (None, Seen("there", consumers=1), 60, "unknown"),
        (LACKING, Seen("there", consumers=1), LATE_AFTER + 1, "late"),
        (LACKING, Seen("there", consumers=1), LATE_AFTER - 1, "waiting"),
        (LACKING, Seen("there", waiting=3), 0, "missing"),
        (LACKING, Seen("missing"), 0, "missing"),
        (LACKING, Seen("untold"), LATE_AFTER - 1, "waiting"),
        (LACKING, Seen("untold"), LATE_AFTER + 1, "missing"),
        (InboxNote(handled=False, forgotten=True), Seen("there"), 60, "forgotten"),
        (handled(), Seen("there"), 60, "handled"),
    ],
)
def test_what_a_subscriber_lacks(note: InboxNote | None, seen: Seen, age: float, standing: str) -> None:
    notes = {("books", "f1"): note} if note else {}
    said = fact("f1", "placed", "/shop/program/till", time=NOW - age)
    tree = flow_tree(rows(said, notes=notes, queues={"shop.facts.books": seen}), HEARERS)
    (books,) = root_of(tree).reactions
    assert books.standing == standing
    assert ("will be tried again" in books.why) is (note is LACKING and seen.consumers == 1)
    assert [one.reaction for one in tree.to_come] == ([books] if standing not in ("handled", "forgotten") else [])
    assert bool(tree.open) is (standing in ("missing", "late"))


@pytest.mark.parametrize(
    ("hearer", "effect", "standing", "why"),
    [
        (replace(BOOKS, beside=("held", "sent")), "waiting", "joined", "it waits for held and sent as well"),
        (replace(BOOKS, beside=("held",)), "ok", "handled", ""),
        (BOOKS, "tombstone", "handled", "it had been taken back before"),
        (BOOKS, "refused", "handled", "refused"),
        (replace(BOOKS, undoes="x"), "tombstone", "handled", "there was nothing to take back"),
        (replace(BOOKS, undoes="x"), "refused", "handled", "there was nothing to take back"),
    ],
)
def test_what_was_taken_in_may_wait_for_others_or_have_come_to_nothing(
    hearer: Hearer, effect: RowState, standing: str, why: str
) -> None:
    note = InboxNote(handled=True, at=NOW - 55, effect=effect)
    tree = flow_tree(rows(PLACED, notes={("books", "f1"): note}), {"placed": [hearer]})
    (books,) = root_of(tree).reactions
    assert (books.standing, books.why, books.since) == (standing, why, NOW - 55)
    assert standings(tree) == ({"books": "joined"} if standing == "joined" else {})
    assert tree.open == []
    line = next(line for line in told(tree) if " books  " in line)
    assert line.startswith(
        "  … books  joined" if standing == "joined" else f"  ✔ books  after 5.0 s{why and ', '}{why}"
    )


def test_what_a_subscriber_does_not_want_it_does_not_lack() -> None:
    notes = {("books", "f1"): InboxNote(handled=False, passed_over=True)}
    tree = flow_tree(rows(PLACED, notes=notes), HEARERS)
    assert (root_of(tree).reactions, tree.to_come) == ((), ())


@pytest.mark.parametrize(
    ("within", "facts", "overdue"),
    [
        (59.0, ["placed"], True),
        (61.0, ["placed"], False),
        (59.0, ["placed", "confirmed"], False),
        (59.0, ["placed", "rejected"], False),
    ],
)
def test_a_flow_that_should_have_ended_is_told(within: float, facts: list[str], overdue: bool) -> None:
    of = {"flow": "order", "flow_version": 2, "flow_id": "o1", "began": NOW - 60, "time": NOW - 1}
    found = rows(*(fact(one, one, "/shop/service/till", **of) for one in facts), fact("f9", "odd", "/shop/service/x"))
    terms = {("order", 2): FlowTerms(within, frozenset({"confirmed", "rejected"}))}
    tree = flow_tree(found, {}, terms)
    assert [(one.flow, one.flow_id, one.began) for one in tree.overdue] == [("order", "o1", NOW - 60)] * overdue
    assert flow_tree(found, {}).overdue == (), "where nobody says when it should be over"
    said = [line for line in told(tree) if "has not ended" in line]
    began = "it began at 1970-01-12T13:45:40Z, 60.0 s ago"
    assert said == [f"  ! flow order o1 has not ended within 59.0 s: {began}"] * overdue
    assert len(flow_data(tree)["overdue"]) == overdue


def letter(queue: str, id: str) -> DeadLetter:
    return DeadLetter(
        id="d1", queue=queue, kind="fact", reason="ValueError: no", parked_at=NOW - 5, exchange=None, type="placed",
        message_id=id, source="", subject="", saga="", saga_id="o1", step="", key="", attempt=0, stream="o1", seq=1,
        size=2, whole=True, redriven=0, unreadable="",
    )  # fmt: skip


def test_a_dead_letter_is_parked_since_then_and_says_why() -> None:
    letters = {("shop.facts.books", "f1"): letter("shop.facts.books", "f1")}
    (books,) = root_of(flow_tree(rows(PLACED, notes={("books", "f1"): LACKING}, letters=letters), HEARERS)).reactions
    assert (books.standing, books.since, books.why) == ("parked", NOW - 5, "ValueError: no")
    (books,) = root_of(flow_tree(rows(PLACED, letters=letters), HEARERS)).reactions
    assert books.standing == "parked", "whatever else is not known"
    (books,) = root_of(flow_tree(rows(PLACED, notes={("books", "f1"): handled()}, letters=letters), HEARERS)).reactions
    assert books.standing == "handled", "a copy that was parked later changes nothing"


def test_nobody_lacks_what_has_not_left() -> None:
    found = rows(PLACED, notes={("books", "f1"): LACKING})
    found.facts["f1"] = TracedFact(PLACED, ("the outbox of till",), leaving=True)
    tree = flow_tree(found, HEARERS)
    assert standings(tree) == {"books": "waiting"}
    assert "no broker has it yet" in next(iter(flow_lines(tree, NOW)))


def record(saga_id: str, key: str = "o1", started: float = NOW - 100) -> Record:
    return Record(
        saga_id=saga_id, saga="order", saga_version=1, key=key, digest="", application="shop", version=1,
        transition="t", status="compensated", state="{}", started_at=started, updated_at=NOW,
    )  # fmt: skip


def step(path: str, came_to: str, operation: str = "do", nested: str = "", code: str = "") -> TracedStep:
    return TracedStep(
        path=path, operation=operation, service="books", came_to=came_to, code=code, since=NOW - 90, at=NOW - 80,
        nested=nested,
    )  # fmt: skip


def of_saga(id: str, type: str, saga_id: str, **more: Any) -> Envelope:
    said = {"stream": saga_id, "correlation_id": saga_id, "saga": "order", "saga_version": 1, **more}
    return fact(id, type, "/shop/shop", **said)


def kinds(nodes: Sequence[FactNode | SagaNode]) -> list[str]:
    return [n.saga.record.saga_id if isinstance(n, SagaNode) else n.fact.envelope.id for n in nodes]


def test_what_a_saga_and_its_participants_publish_stands_under_it() -> None:
    by_handler = fact("f4", "noted", "/shop/service/books", causation_id="a command", saga="order", correlation_id="s1")
    begun = {"s1": TracedSaga(record=record("s1"), steps=(step("charge", "replied"),))}
    tree = flow_tree(rows(of_saga("f3", "confirmed", "s1", causation_id="a reply"), by_handler, sagas=begun), HEARERS)
    (root,) = tree.roots
    assert isinstance(root, SagaNode)
    assert kinds(root.then) == ["f4", "f3"] or kinds(root.then) == ["f3", "f4"]
    assert {one.by for one in root.then if isinstance(one, FactNode)} == {"books", "saga order"}


def test_a_saga_that_a_fact_begins_stands_under_it_and_what_that_publishes_under_the_saga() -> None:
    app = Hearer(fact="placed", name="app.shop", queue="shop.facts.app.shop", sagas=("order",))
    caused = of_saga("f3", "confirmed", "s1", causation_id="f1")
    found = rows(PLACED, caused, sagas={"s1": TracedSaga(record=record("s1"), steps=())}, begun={"f1": ["s1"]})
    (reaction,) = root_of(flow_tree(found, {"placed": [app]})).reactions
    (saga,) = reaction.then
    assert isinstance(saga, SagaNode)
    assert kinds(saga.then) == ["f3"]


def test_a_nested_saga_stands_under_its_own() -> None:
    sagas = {
        "s2": TracedSaga(record=record("s2"), steps=()),
        "s1": TracedSaga(record=record("s1"), steps=(step("pay", "sent", nested="s2"),)),
    }
    (root,) = flow_tree(rows(sagas=sagas), {}).roots
    assert isinstance(root, SagaNode)
    assert (root.saga.record.saga_id, kinds(root.then)) == ("s1", ["s2"])


def test_what_goes_in_a_circle_is_shown_once() -> None:
    one = fact("f1", "placed", "/shop/service/books", causation_id="f2")
    other = fact("f2", "charged", "/shop/service/books", causation_id="f1", time=NOW - 50)
    root = root_of(flow_tree(rows(one, other), {}))
    (reaction,) = root.reactions
    assert kinds(reaction.then) == ["f2"]
    again = [node for node in reaction.then if isinstance(node, FactNode)]
    assert [inner.then for inner in again[0].reactions] == [()]


def told(tree: FlowTree) -> list[str]:
    return list(flow_lines(tree, NOW))


def test_as_lines() -> None:
    notes = {("books", "f1"): handled(), ("store", "f2"): LACKING, ("mails", "f2"): handled(None)}
    queues = {"shop.facts.store": Seen("there", waiting=2)}
    steps = (step("charge", "replied"), step("ship", "refused", code="damaged"), step("charge", "undone", "undo"))
    sagas = {"s1": TracedSaga(record=record("s1", "o9"), steps=steps)}
    found = rows(PLACED, CHARGED, notes=notes, queues=queues, sagas=sagas, unreached=["the outbox of store: away"])
    assert told(flow_tree(found, HEARERS)) == [
        "▶ saga order o9  compensated  1970-01-12T13:45:00Z",
        "  ✔ charge  books  done  after 10.0 s",
        "  ✖ ship  books  refused: damaged  after 10.0 s",
        "  ↩ undo of charge  books  undone  after 10.0 s",
        "◇ placed  program till  1970-01-12T13:45:40Z",
        "  ✔ books  after 5.0 s",
        "    ◇ charged  books  1970-01-12T13:45:50Z",
        "      ! store  missing  takes back placed",
        "      ✔ mails  handled",
        "still to happen",
        "  ! store: charged missing since 1970-01-12T13:45:50Z, 50.0 s: nobody consumes shop.facts.store, where 2"
        " messages wait",
        "not read",
        "  the outbox of store: away",
    ]


def test_what_a_missing_reaction_would_publish_is_said_and_what_is_not_found() -> None:
    lines = told(flow_tree(rows(PLACED, notes={("books", "f1"): LACKING}, queues={}), HEARERS))
    assert lines[-1].endswith("is not known; would publish charged")
    assert told(flow_tree(rows(PLACED, notes={("books", "f1"): handled()}), HEARERS)) == [
        "◇ placed  program till  1970-01-12T13:45:40Z",
        "  ✔ books  after 5.0 s, and nothing is known that it published",
    ]
    assert "what caused it was not found" in told(flow_tree(rows(CHARGED), HEARERS))[0]
    assert told(flow_tree(rows(fact("f9", "odd", "/shop/service/odd")), HEARERS))[1] == "  nobody listens"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.02, "20 ms"), (-1, "0 ms"), (5, "5.0 s"), (600, "10 min"), (9000, "2 h")]
)
def test_durations(seconds: float, words: str) -> None:
    note = InboxNote(handled=True, at=PLACED.time + seconds)
    assert f"books  after {words}" in told(flow_tree(rows(PLACED, notes={("books", "f1"): note}), HEARERS))[1]


def test_the_same_for_programs() -> None:
    notes = {("books", "f1"): handled(), ("store", "f2"): LACKING}
    sagas = {"s1": TracedSaga(record=record("s1"), steps=(step("charge", "replied"),))}
    found = rows(PLACED, CHARGED, notes=notes, sagas=sagas, queues={"shop.facts.store": Seen("missing")})
    data = flow_data(flow_tree(found, HEARERS))
    saga, placed = data["flow"]
    assert (saga["saga_id"], saga["steps"][0]["came_to"]) == ("s1", "replied")
    (charged,) = placed["reactions"][0]["then"]
    assert (charged["fact"], charged["found_in"], charged["causation_id"]) == ("charged", ["the fact log"], "f1")
    assert {one["subscriber"]: one["standing"] for one in data["to_come"]} == {"store": "missing", "mails": "unknown"}
    assert data["to_come"][0]["since"] == "1970-01-12T13:45:50.000000Z"
    assert data["not_read"] == []


def test_what_is_to_come_is_told_by_age() -> None:
    older = fact("f0", "charged", "/shop/program/till", time=NOW - 500, seq=2)
    tree = flow_tree(rows(PLACED, CHARGED, older), HEARERS)
    assert [one.fact.id for one in tree.to_come] == ["f0", "f0", "f2", "f2"]
    assert isinstance(tree.to_come[0].reaction, ReactionNode)
