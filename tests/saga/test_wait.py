"""`Wait`: what is told in time is taken once, early too; what is late is said to; what never comes has its end."""

# mypy: disable-error-code="arg-type"
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from choros.errors import DeclarationError
from choros.messages import Failure
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import RetryRequested, SignalRequested, TerminateRequested, TimerFired
from choros.saga.machine.signals import MOST_CHARACTERS, MOST_EARLY
from choros.saga.nodes import Branch, ForEach, Parallel, Pivot, Reminder, Repeat, Wait, When
from choros.saga.nodes.wait import LOOK_AGAIN
from choros.testing.dialogue import SagaTest
from tests.saga.driving import START, Run
from tests.saga.loan import (
    DECISION,
    PAY_OUT,
    SET_ASIDE,
    Archive,
    AskForLoan,
    Booked,
    Countersigned,
    Decided,
    DecisionNeeded,
    GiveBack,
    PayOut,
    SetAside,
    StillUndecided,
    a_century,
    as_long_as,
    ask,
    backwards,
    granted,
    judged,
    long,
    make_loan,
    many_officers,
    nothing,
    officers,
    remind_him,
    ship,
    signed_by_all,
    signed_himself,
    signed_twice,
    undecided,
    yes,
)

DAY = timedelta(days=1)


def waiting() -> SagaTest:
    """Money is set aside, and nobody has decided."""
    test = SagaTest(make_loan())
    test.start(AskForLoan())
    test.expect_command(SetAside).reply(Booked())
    return test


def test_what_it_is_told_is_known_behind_the_wait() -> None:
    test = waiting()
    test.expect_facts(DecisionNeeded)
    assert test.signal(Decided(by="Ann")) == "signalled"
    test.expect_command(PayOut(loan="l1", by="Ann")).reply()
    assert test.signal(Countersigned()) == "signalled"
    test.expect_command(Archive(loan="Bob")).reply()
    assert test.status == "completed"


def test_what_comes_early_is_kept_for_its_wait() -> None:
    test = SagaTest(make_loan())
    test.start(AskForLoan())
    assert test.signal(Countersigned()) == "kept"
    assert test.signal(Decided(by="Eve")) == "kept"
    assert test.signal(Decided(by="Ann")) == "too_late"
    test.expect_command(SetAside).reply(Booked())
    test.expect_facts()
    test.expect_command(PayOut(loan="l1", by="Eve")).reply()
    test.expect_command(Archive(loan="Bob")).reply()
    assert test.status == "completed"


def test_nobody_decides() -> None:
    test = waiting()
    test.expect_facts(DecisionNeeded)
    test.advance(DAY)
    test.expect_facts(StillUndecided)
    test.advance(DAY)
    test.expect_facts(StillUndecided)
    test.advance(DAY)
    assert test.signal(Decided()) == "too_late"
    test.expect_compensation(GiveBack).reply()
    test.expect_facts()
    assert test.status == "compensated"


def test_a_wait_behind_the_pivot_goes_on_without() -> None:
    test = waiting()
    test.signal(Decided())
    test.expect_command(PayOut).reply()
    test.advance(DAY)
    test.expect_command(Archive(loan="nobody")).reply()
    assert (test.status, test.signal(Countersigned())) == ("completed", "too_late")


# --- where nobody says anything: a person ---------------------------------------------------------------------------


def parked(by: str = "officer") -> Run:
    """Money is set aside, nobody has decided for three days, and now a person has to."""
    run = run_of(SET_ASIDE, replace(DECISION, otherwise="park", by=by), PAY_OUT)
    for _ in range(3):
        run.fire()
    return run


def run_of(*steps: Any, **more: Any) -> Run:
    """Money is set aside."""
    run = Run(make_loan(*steps, **more), start=AskForLoan())
    run.ok(Booked())
    return run


def test_one_that_is_parked_takes_the_signal_still() -> None:
    run = parked()
    assert (run.status, run.instance.why_parked) == ("parked", "decided: nobody gave Decided in time")
    run.signal("decided", Decided(by="Bob"))
    assert (run.status, run.kinds) == ("running", ["unparked", "signalled", "sent"])
    assert PayOut.from_json(run.sent.data) == PayOut(loan="l1", by="Bob")


def test_a_person_has_it_wait_anew() -> None:
    run = parked()
    run.give(RetryRequested("again", "decided", 1))
    state = run.instance.state("decided")
    assert (run.status, state.progress, state.round) == ("running", "awaiting", 2)
    assert (state.until, state.not_after) == (run.now + 86_400, run.now + 3 * 86_400)
    assert run.kinds == ["unparked", "awaiting", "reminded", "fact_published"]


# --- what else happens to the saga meanwhile ------------------------------------------------------------------------


def test_a_cancel_ends_the_wait() -> None:
    run = run_of()
    run.cancel()
    assert (run.status, run.sent.key.operation, run.instance.wake_at) == ("compensating", "undo", run.leg.due)
    run.signal("decided", Decided())
    assert (run.kinds, run.last.events[0].code) == (["too_late"], "signal")


def test_a_signal_in_the_batch_of_its_deadline_counts() -> None:
    run = run_of()
    run.give(TimerFired(), SignalRequested("s", "decided", Decided().to_json()), at=START + 3 * 86_400)
    assert run.kinds == ["signalled", "sent"]


def test_the_same_batch_holds_two_and_the_first_counts() -> None:
    run = run_of()
    both = (SignalRequested(name, "decided", Decided(by=name).to_json()) for name in ("Ann", "Bob"))
    run.give(*both)
    assert run.kinds == ["signalled", "too_late", "sent"]
    assert PayOut.from_json(run.sent.data).by == "Ann"


def test_a_paused_saga_takes_what_it_is_told_and_reminds_nobody() -> None:
    run = run_of()
    run.pause()
    run.give(TimerFired(), at=START + 86_400)
    assert (run.last.facts, run.instance.wake_at) == ((), START + 86_400 + LOOK_AGAIN)
    run.resume()
    assert [one.type for one in run.last.facts] == ["still-undecided.v1"]
    run.pause()
    run.signal("decided", Decided())
    assert (run.kinds, run.last.sends) == (["signalled"], ())
    run.resume()
    assert run.sent.type == "pay-out.v1"


def test_one_that_lapses_while_the_saga_is_paused_is_undone_when_that_is_resumed() -> None:
    run = run_of()
    run.pause()
    run.give(TimerFired(), at=START + 3 * 86_400 - 10)
    assert run.instance.wake_at == START + 3 * 86_400
    run.fire()
    assert (run.status, run.instance.wake_at) == ("running", START + 3 * 86_400 + LOOK_AGAIN)
    run.resume()
    assert (run.status, run.kinds) == ("compensating", ["resumed", "lapsed", "compensating", "sent"])
    why = Failure(code="lapsed", detail="nobody gave Decided in time", step="decided")
    assert Failure.from_json(run.instance.failure) == why


def test_a_timer_that_comes_too_soon_moves_nothing() -> None:
    run = run_of()
    run.give(TimerFired(), at=START + 10)
    assert (run.kinds, run.last.facts) == ([], ())


def test_terminate_ends_it_at_once() -> None:
    run = run_of()
    run.give(TerminateRequested("end"))
    assert (run.status, run.instance.wake_at) == ("terminated", None)


def test_the_pivot_waits_for_a_wait_beside_it() -> None:
    """While a signal may still have the saga undone, nothing is done for good."""
    beside = Parallel(Branch("work", SET_ASIDE), Branch("word", Wait(Countersigned, within=DAY)), name="both")
    run = run_of(beside, Pivot(ship, to="bank"))
    assert [send.type for send in run.sends] == ["set-aside.v1"]
    run.signal("both.word.countersigned", Countersigned())
    assert run.sent.type == "archive.v1"


# --- several waits --------------------------------------------------------------------------------------------------


def test_each_item_has_a_wait_of_its_own() -> None:
    each = ForEach(officers, Wait(Countersigned, within=DAY), name="officers")
    run = run_of(SET_ASIDE, each, Pivot(signed_by_all, to="bank"))
    run.signal("officers[1].countersigned", Countersigned(by="Bob"))
    run.signal("officers[1].countersigned", Countersigned(by="Eve"), "again")
    assert run.kinds == ["too_late"]
    run.signal("officers[0].countersigned", Countersigned(by="Ann"))
    assert PayOut.from_json(run.sent.data).by == "Ann, Bob"


@pytest.mark.parametrize("carry", [True, False])
def test_in_a_repeat_it_is_this_time_that_is_meant(carry: bool) -> None:
    again = Repeat(Wait(Decided, within=DAY, carry=carry), until=yes, at_most=3, name="ask")
    run = run_of(SET_ASIDE, again, PAY_OUT)
    for number in range(2):
        run.give(
            SignalRequested(f"first-{number}", "ask[].decided", Decided(yes=False).to_json()),
            SignalRequested(f"second-{number}", "ask[].decided", Decided(yes=False, by="Bob").to_json()),
        )
        if carry:
            break
        assert run.kinds[:2] == ["signalled", "too_late"]
    assert run.instance.state("ask").begun == 3
    assert run.instance.early == ()


def test_a_loser_of_a_race_waits_no_more() -> None:
    race = Parallel(
        Branch("paper", Wait(Countersigned, within=DAY)),
        Branch("word", Wait(Decided, within=DAY)),
        first=1,
        name="race",
    )
    run = run_of(SET_ASIDE, race, Pivot(ship, to="bank"))
    run.signal("race.word.decided", Decided())
    assert (run.sent.type, run.instance.wake_at) == ("archive.v1", run.leg.due)
    run.signal("race.paper.countersigned", Countersigned(), "late")
    assert run.kinds == ["too_late"]


def test_only_so_many_early_ones_are_kept() -> None:
    many = ForEach(many_officers, Wait(Countersigned, within=DAY), name="officers")
    run = Run(make_loan(SET_ASIDE, many, Pivot(ship, to="bank")), start=AskForLoan())
    for index in range(MOST_EARLY + 1):
        run.signal(f"officers[{index}].countersigned", Countersigned(), f"s{index}")
    assert (len(run.instance.early), run.kinds) == (MOST_EARLY, ["not_kept"])
    long = Run(make_loan(SET_ASIDE, many, Pivot(ship, to="bank")), start=AskForLoan())
    long.signal("officers[0].countersigned", Countersigned(by="x" * MOST_CHARACTERS))
    assert (long.kinds, long.instance.early) == (["not_kept"], ())


def test_what_is_exactly_as_long_as_may_be_kept_is() -> None:
    run = run_of()
    envelope = len(Countersigned(by="").to_json())
    run.signal("countersigned", Countersigned(by="x" * (MOST_CHARACTERS - envelope)))
    assert run.kinds == ["kept"]
    run.signal("countersigned", Countersigned(), "again")
    assert run.kinds == ["too_late"], "one is kept already"
    run.pause()
    run.give(SignalRequested("third", "decided", Decided().to_json()))
    assert run.kinds == ["signalled"]


def test_what_is_not_kept_is_said_of_its_wait() -> None:
    run = run_of()
    run.signal("countersigned", Countersigned(by="x" * MOST_CHARACTERS))
    assert [(event.kind, event.step) for event in run.last.events] == [("not_kept", "countersigned")]


def test_nothing_is_kept_for_a_wait_in_what_is_over() -> None:
    each = ForEach(officers, Wait(Countersigned, within=DAY), name="officers")
    run = run_of(SET_ASIDE, each, Pivot(signed_by_all, to="bank"))
    for index in range(2):
        run.signal(f"officers[{index}].countersigned", Countersigned(), f"s{index}")
    run.signal("officers[2].countersigned", Countersigned(), "of nobody")
    assert (run.kinds, run.instance.early) == (["too_late"], ())


def test_nor_for_one_in_a_loser_before_and_after_that_is_undone() -> None:
    race = Parallel(
        Branch("paper", replace(SET_ASIDE, name="aside"), Wait(Countersigned, within=DAY)),
        Branch("word", Wait(Decided, within=DAY)),
        first=1,
        name="race",
    )
    run = run_of(SET_ASIDE, race, Pivot(ship, to="bank"))
    run.signal("race.word.decided", Decided())
    assert run.sent.key.operation == "undo"
    run.signal("race.paper.countersigned", Countersigned(), "lost")
    assert run.kinds == ["too_late"]
    run.ok()
    run.signal("race.paper.countersigned", Countersigned(), "undone")
    assert run.kinds == ["too_late"]


def test_a_wait_that_the_saga_did_not_come_to_keeps_nothing_when_it_is_over_or_is_being_terminated() -> None:
    run = run_of(SET_ASIDE, When(long, then=Wait(Decided, within=DAY)), Pivot(ship, to="bank"))
    run.ok()
    run.signal("long.decided", Decided())
    assert (run.status, run.kinds) == ("completed", ["too_late"])
    run = Run(make_loan(), start=AskForLoan())
    run.give(TerminateRequested("end"))
    run.signal("decided", Decided())
    assert (run.status, run.kinds) == ("running", ["too_late"])


def test_in_a_repeat_in_a_repeat_it_is_this_time_of_both() -> None:
    inner = Repeat(Wait(Decided, within=DAY), until=yes, at_most=3, name="ask")
    run = run_of(SET_ASIDE, Repeat(inner, until=signed_twice, at_most=3, name="again"), Pivot(ship, to="bank"))
    taken = []
    for number, said in enumerate((False, True, True)):
        run.give(SignalRequested(f"s{number}", "again[].ask[].decided", Decided(yes=said).to_json()))
        taken += [event.step for event in run.last.events if event.kind == "signalled"]
    assert taken == [f"again[{one}].ask[{other}].decided" for one, other in ((0, 0), (0, 1), (1, 0))]


def test_with_carry_one_is_kept_for_the_time_to_come_of_both() -> None:
    inner = Repeat(Wait(Decided, within=DAY, carry=True), until=yes, at_most=3, name="ask")
    run = run_of(SET_ASIDE, Repeat(inner, until=signed_twice, at_most=3, name="again"), Pivot(ship, to="bank"))
    run.give(*(SignalRequested(f"s{one}", "again[].ask[].decided", Decided(yes=False).to_json()) for one in range(2)))
    told = [event.step for event in run.last.events if event.kind in ("signalled", "kept")]
    assert told == [f"again[0].ask[{time}].decided" for time in (0, 1, 1)]
    assert run.instance.state("again[0].ask").begun == 3


# --- in an item -------------------------------------------------------------------------------------------------------


def test_in_an_item_its_functions_are_asked_about_that_item() -> None:
    one = Wait(
        Countersigned,
        within=as_long_as,
        accept=signed_himself,
        reminders=(Reminder(0 * DAY, remind_him),),
    )
    run = run_of(SET_ASIDE, ForEach(officers, one, name="officers", at_once=2), Pivot(signed_by_all, to="bank"))
    assert [StillUndecided.from_json(fact.data).loan for fact in run.last.facts] == ["Ann", "Bob"]
    ends = [run.instance.state(f"officers[{index}].countersigned").not_after for index in range(2)]
    assert ends == [START + 3 * 3_600, START + 4 * 3_600]
    run.signal("officers[0].countersigned", Countersigned(by="Ann"))
    assert run.instance.state("officers[0].countersigned").choice == "accepted"
    run.signal("officers[1].countersigned", Countersigned(by="Ann"))
    assert run.status == "compensating"


@pytest.mark.parametrize(("within", "status"), [(nothing, "compensating"), (a_century, "running")])
def test_the_longest_wait_and_none_at_all_are_times_to_wait(within: Any, status: str) -> None:
    run = run_of(SET_ASIDE, Wait(Decided, within=within), PAY_OUT)
    assert run.status == status


def test_what_is_parked_stays_where_it_is_whatever_else_happens() -> None:
    run = parked()
    run.pause()
    run.resume()
    assert (run.status, run.last.sends, run.kinds) == ("parked", (), ["resumed"])


def test_a_wait_changes_nothing() -> None:
    leaf = make_loan().outline.leaf("decided")
    assert leaf is not None and leaf.changes is False


# --- functions that fail --------------------------------------------------------------------------------------------


def test_a_time_that_is_none_parks_the_wait() -> None:
    run = run_of(SET_ASIDE, Wait(Decided, within=backwards), PAY_OUT)
    assert run.instance.why_parked == "decided cannot wait: datetime.timedelta(days=-3) is not a time to wait"
    run.signal("decided", Decided())
    assert run.kinds == ["kept"]
    run.give(RetryRequested("again", "decided", 1))
    assert run.kinds == ["unparked", "signalled", "sent"]


# --- the declaration ------------------------------------------------------------------------------------------------


def test_what_it_is_called_and_how_it_is_drawn() -> None:
    saga = make_loan()
    assert list(saga.outline.leaves)[1] == "decided"
    assert {kind.type_name for kind in saga.outline.facts} == {"decision-needed.v1", "still-undecided.v1"}
    words = outline(saga)
    assert "  decided: waits for Decided from officer, as long as as_asked says; then it is undone" in words
    assert "  countersigned: waits for Countersigned, for 1 day, 0:00:00; then it goes on without" in words
    assert "  DecisionNeeded (reminding of decided): nobody subscribes" in words
    picture = mermaid(saga)
    assert 's1(("decided<br/>waits for Decided from officer, as long as as_asked says"))' in picture
    assert 's1 -->|"lapsed"| s0' in picture
    assert "s3 -->|" not in picture.replace('s3 -->|"Archive"| s4', "")


def test_the_fingerprint_has_its_name_and_type() -> None:
    lines = make_loan().fingerprint.text.splitlines()
    at = lines.index("decided: wait")
    assert lines[at + 1 : at + 4] == [
        "  for decided, for a time of (ask-for-loan)",
        "  reminder decision-needed(ask-for-loan)",
        "  reminder still-undecided(ask-for-loan) or none",
    ]
    assert lines[lines.index("countersigned: wait") + 1] == "  for countersigned"


MISTAKES: Sequence[tuple[Any, str]] = [
    (Wait(Booked, within=DAY), "booked waits for <class 'tests.saga.loan.Booked'>, which is no Signal and no Fact."),
    (Wait(Decided, within=3), "decided: within=3 is no timedelta."),
    (Wait(Decided, within=DAY, otherwise="nothing"), "decided: otherwise='nothing' means nothing."),
    (Wait(Decided, within=DAY, by="a\nb"), "decided: by='a\\nb' is no role."),
    (Wait(3, within=DAY), "wait waits for 3, which is no Signal and no Fact."),
    (Wait(Decided, within=DAY, reminders=(DAY,)), "is no Reminder."),
    (Wait(Decided, within=DAY, reminders=(Reminder(DAY, ask),)), "reminds after 1 day, 0:00:00, when nobody waits"),
    (Wait(Decided, within=3 * DAY, reminders=(Reminder(DAY, ask), Reminder(0 * DAY, ask))), "do not follow"),
    (Wait(Decided, within=0 * DAY), "decided: within=0:00:00 is no time to wait."),
    (Wait(Decided, within=DAY, accept=3), "saga 'loan': 3 is no function. Try: write one that returns a bool."),
    (Wait(Decided, within=DAY, reminders=3), "saga 'loan': decided: reminders=3 is no sequence."),
    (Wait(Decided, within=DAY, reminders=(Reminder(3, ask),)), "saga 'loan': decided: after=3 is no timedelta."),
    (Wait(Decided, within=DAY, reminders=(Reminder(-DAY, ask),)), "decided: after=-1 day, 0:00:00 is no time to wait."),
    (
        Wait(Decided, within=3 * DAY, reminders=(Reminder(DAY, 3),)),
        "saga 'loan': 3 is no function. Try: write one that returns a Fact.",
    ),
    (Wait(Decided, within=DAY, carry=True), "carries signals to a next time, but stands in no loop."),
    (Wait(Decided, within=DAY, otherwise="go_on"), "pay_out needs Decided, which may not be known by then: the"),
]


@pytest.mark.parametrize(("wait", "sentence"), MISTAKES)
def test_mistakes_are_sentences(wait: Wait, sentence: str) -> None:
    with pytest.raises(DeclarationError) as error:
        make_loan(SET_ASIDE, wait, PAY_OUT)
    assert sentence in str(error.value)


def test_behind_the_pivot_it_cannot_have_the_saga_undone() -> None:
    with pytest.raises(
        DeclarationError, match=r"stands after the pivot.* write otherwise='go_on' or otherwise='park'."
    ):
        make_loan(SET_ASIDE, Pivot(ship, to="bank"), Wait(Decided, within=DAY))


# --- a yes, or a no -----------------------------------------------------------------------------------------------


def test_a_no_has_the_saga_undone_and_is_asked_about_once() -> None:
    judged.clear()
    run = run_of(SET_ASIDE, replace(DECISION, accept=granted), PAY_OUT)
    run.signal("decided", Decided(yes=False))
    assert (run.status, run.sent.key.operation, judged) == ("compensating", "undo", [False])
    why = Failure(code="declined", detail="granted says no to what it was told", step="decided")
    assert (Failure.from_json(run.instance.failure), run.instance.state("decided").choice) == (why, "declined")
    run = run_of(SET_ASIDE, replace(DECISION, accept=granted), PAY_OUT)
    run.signal("decided", Decided())
    run.fail()
    assert (run.status, run.instance.state("decided").choice, judged) == ("running", "accepted", [False, True])


def test_a_function_that_says_neither_parks_the_wait() -> None:
    run = run_of(SET_ASIDE, replace(DECISION, accept=undecided), PAY_OUT)
    run.signal("decided", Decided())
    assert (run.status, run.instance.why_parked) == ("parked", "undecided returned str, not bool")


def test_a_no_behind_the_pivot_is_refused_where_it_is_declared() -> None:
    late = Wait(Decided, within=DAY, otherwise="go_on", accept=granted)
    sentence = r"told no, but stands after the pivot.* go one way or another behind it: When\(...\)."
    with pytest.raises(DeclarationError, match=sentence):
        make_loan(SET_ASIDE, Pivot(ship, to="bank"), late)


def test_a_no_is_drawn_and_stands_in_the_fingerprint() -> None:
    saga = make_loan(SET_ASIDE, replace(DECISION, accept=granted), PAY_OUT)
    assert "  for decided, for a time of (ask-for-loan), accepted by (decided: decided)" in saga.fingerprint.text
    assert 's1 -->|"declined or lapsed"| s0' in mermaid(saga)
    assert any("from officer, accepted if granted, as long as" in line for line in outline(saga))
