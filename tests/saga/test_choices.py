# mypy: disable-error-code="empty-body"
"""A function of the declaration may choose one of several messages, or none: that is decided once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from choros.errors import DeclarationError
from choros.messages import Command, Done, Fact, Message, Reply
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import Answered
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin
from choros.saga.machine.rerun import kept_by, why_not
from choros.saga.nodes import Check, Pivot, Publish, Retriable, Step
from choros.saga.saga import Saga
from choros.testing.dialogue import SagaTest
from choros_verify import Bounds, explore
from tests.every_day import every_day
from tests.saga import post
from tests.saga.driving import Run
from tests.saga.post import (
    EXPRESS,
    LETTER,
    MAIL,
    RETRY,
    SAGA,
    STEPS,
    Hurried,
    LetterSent,
    MailSent,
    Order,
    Over,
    OverByMail,
    Planned,
    Presented,
    RecallLetter,
    RecallMail,
    SendLetter,
    SendMail,
    Ship,
    ShipFast,
    Undone,
    Unwrap,
    Wrap,
    Wrapped,
    notify,
    recall,
    unwrap,
    wrap,
)

MAILED, POSTED, PAPER = MailSent(mail_id="m1"), LetterSent(stamp="s1"), Wrapped(paper="red")


def started(order: Order, saga: Saga[Any] = SAGA) -> SagaTest:
    test = SagaTest(saga)
    test.start(order)
    return test


def run_of(order: Order, saga: Saga[Any] = SAGA) -> Run:
    run = Run(saga)
    run.sends.clear()
    run.facts.clear()
    run._take(begin(saga.tree, "s1", order.to_json(), run.now, cause="start"))
    return run


# --- forward ----------------------------------------------------------------------------------------------------------


def test_one_of_two_commands_is_sent_and_later_functions_see_its_reply() -> None:
    test = started(MAIL)
    test.expect_command(SendMail(to="a@b"), to="post").reply(MAILED)
    test.expect_command(Wrap).reply(PAPER)
    test.expect_command(Ship(id="o1", told="m1", paper="red")).reply()
    test.expect_facts(Planned, Presented, OverByMail)
    assert test.status == "completed"


def test_the_other_one_is_and_what_is_not_to_be_done_is_passed_over() -> None:
    test = started(LETTER)
    test.expect_command(SendLetter(id="o1"), to="post").reply(POSTED)
    test.expect_command(Ship(id="o1", told="s1", paper="")).reply()
    test.expect_facts(Planned, Over)
    assert test.instance.state("wrap").progress == "passed_over"
    assert test.instance.state("presented").progress == "passed_over"


def test_a_pivot_may_choose_between_two() -> None:
    test = started(EXPRESS)
    test.expect_command(SendLetter).reply(POSTED)
    test.expect_command(ShipFast).reply()
    test.expect_facts(Hurried, Over)


def test_it_is_said_in_the_history() -> None:
    run = run_of(LETTER)
    run.ok(POSTED)
    assert [(event.kind, event.step) for event in run.last.events if event.kind == "passed_over"] == [
        ("passed_over", "wrap"),
        ("passed_over", "presented"),
    ]


def counting(calls: list[str], function: Callable[..., Any]) -> Callable[..., Any]:
    def wrap(order: Order) -> Wrap | None:
        calls.append("wrap")
        made: Wrap | None = function(order)
        return made

    return wrap


def test_rule_11_what_is_passed_over_is_not_decided_again() -> None:
    """Not at the next turn, not after a restart, and not at the undo."""
    calls: list[str] = []
    wrap_it = Step(counting(calls, wrap), to="gifts", compensation=unwrap)
    run = run_of(LETTER, declare(NOTIFY, wrap_it, Pivot(needs_both_to_ship, to="carrier")))
    run.ok(POSTED)
    run.time_out()
    run.refuse("closed")
    run.ok(Done())
    assert run.status == "compensated"
    assert calls == ["wrap"]
    assert [send.key.path for send in run.sends if send.key.operation == "undo"] == ["notify"]


def test_rule_11_nor_is_the_last_one_while_the_end_waits_for_a_person() -> None:
    calls: list[str] = []

    def over(order: Order) -> Over:
        if len(events) < 2:
            raise LookupError
        return Over(id=order.id)

    wrap_it = Step(counting(calls, wrap), to="gifts", compensation=unwrap)
    events: list[str] = []
    run = run_of(LETTER, declare(NOTIFY, wrap_it, completed=over))
    run.ok(POSTED)
    while run.status != "completed":
        events.append(run.instance.why_parked)
        run.retry("")
    assert (calls, events) == (["wrap"], ["over raised LookupError"] * 2)


def test_rule_11_what_is_chosen_is_sent_again_as_what_it_is() -> None:
    run = run_of(LETTER)
    assert run.instance == Instance.loads(run.instance.dumps())
    run.time_out()
    assert [send.type for send in run.sends] == ["send-letter.v1", "send-letter.v1"]


def test_an_older_choros_reads_a_saga_that_never_chooses() -> None:
    plain = Run()
    assert '"choice"' not in plain.instance.dumps()
    assert '"command":"' in plain.instance.dumps(), "the one in flight"


@pytest.mark.parametrize("code", ["no_such_street", "no_such_address"])
def test_only_what_was_chosen_may_be_refused_with_its_codes(code: str) -> None:
    run = run_of(LETTER)
    run.refuse(code)
    assert run.kinds[0] == ("refused" if code == "no_such_street" else "undeclared_refusal")


def test_rule_11_the_reply_to_another_command_is_no_answer() -> None:
    run = run_of(LETTER)
    answer = run.answer("ok", MAILED)
    run.give(replace(answer, kind=MailSent))
    assert run.last.strays == (answer.id,)
    assert run.instance.state("notify").progress == "sent"
    run.give(replace(run.answer("ok", POSTED), kind=LetterSent))
    assert run.instance.state("notify").progress == "ok"


# --- backward ---------------------------------------------------------------------------------------------------------


def test_rule_11_an_undo_may_ask_for_the_command_that_it_undoes() -> None:
    test = started(LETTER)
    test.expect_command(SendLetter).reply(POSTED)
    test.expect_command(Ship).refuse("closed")
    test.expect_compensation(RecallLetter(id="o1"), to="post").reply()
    test.expect_facts(Undone)
    assert test.status == "compensated"


def test_an_undo_may_choose_as_well_and_is_sent_again_as_what_it_is() -> None:
    run = run_of(MAIL)
    run.ok(MAILED)
    run.ok(PAPER)
    run.refuse("closed")
    run.ok(Done())
    run.time_out(2)
    undos = [(send.type, send.attempt) for send in run.sends if send.key.operation == "undo"]
    assert undos == [("unwrap.v1", 1), ("recall-mail.v1", 1), ("recall-mail.v1", 2)]
    assert run.sent.data == RecallMail(mail_id="m1").to_json()


def test_an_undo_may_find_that_there_is_nothing_to_undo() -> None:
    run = run_of(MAIL)
    run.time_out(2)
    assert run.status == "compensated"
    assert run.instance.state("notify").progress == "undone"
    assert [(event.step, event.operation) for event in run.last.events if event.kind == "passed_over"] == [
        ("notify", "undo")
    ]
    assert run.saga.at_work(run.instance) == ""


def test_a_closing_fact_may_be_none() -> None:
    test = started(EXPRESS)
    test.expect_command(SendLetter).refuse("no_such_town")
    test.expect_facts()
    assert test.status == "compensated"


def test_what_it_asked_for_is_kept_only_as_long_as_an_undo_asks_for_it() -> None:
    run = run_of(MAIL)
    run.ok(MAILED)
    assert run.instance.state("notify").command == SendMail(to="a@b").to_json()
    assert run.instance.state("wrap").command == ""


# --- what people do ---------------------------------------------------------------------------------------------------


def test_a_skipped_step_goes_on_with_the_reply_to_what_it_chose() -> None:
    run = run_of(
        LETTER,
        Saga(
            "post",
            start=Order,
            steps=(Step(notify, to="post", compensation=recall, retry=replace(RETRY, exhausted="park")), *STEPS[1:]),
        ),
    )
    run.time_out(2)
    assert run.status == "parked"
    run.skip("notify", POSTED)
    run.ok(Done(), key=replace(run.sent.key))
    assert run.sent.data == Ship(id="o1", told="s1", paper="").to_json()


def test_a_step_that_was_passed_over_stays_so_in_a_rerun_of_what_follows() -> None:
    run = run_of(LETTER)
    run.ok(POSTED)
    run.ok(Done())
    assert run.status == "completed"
    run.refuse("closed", to=run.sends[-1])
    undone = replace(
        run.instance,
        nodes=type(run.instance.nodes)(
            {**run.instance.nodes, "ship": replace(run.instance.state("ship"), progress="refused", reply="")}
        ),
    )
    assert why_not(SAGA.outline, undone, "ship") == ""
    kept = kept_by(SAGA.outline, undone, "ship")
    assert (kept["wrap"].progress, kept["notify"].choice) == ("passed_over", "send-letter")


# --- the declaration --------------------------------------------------------------------------------------------------


class MailSentAgain(Reply, name="mail-sent", version=2):
    pass


class SendMailAgain(Command[MailSentAgain], name="send-mail", version=2):
    to: str


class Retyped(Reply):
    code: int


class ByMail(Command[Done], refusals={"odd": Retyped}):
    to: str


class ByHand(Command[Done], refusals={"odd": Wrapped}):
    to: str


def needs_both_to_ship(order: Order, told: MailSent | LetterSent) -> Ship:
    return Ship(id=order.id, told=type(told).__name__, paper="")


def needs_mail(order: Order, mail: MailSent) -> Ship: ...
def needs_both(order: Order, told: MailSent | LetterSent) -> Ship: ...
def needs_paper(order: Order, paper: Wrapped) -> Ship: ...
def needs_two_steps(order: Order, told: MailSent | Wrapped | None) -> Ship: ...
def twice(order: Order) -> SendMail | SendMailAgain: ...
def mixed(order: Order) -> SendMail | Over: ...
def perhaps(order: Order) -> Ship | None: ...
def refusing(order: Order) -> Unwrap | SendMail: ...
def oddly(order: Order) -> ByMail | ByHand: ...
def untold(order: Order) -> Undone | None: ...
def told(order: Order) -> Planned: ...
def of_another(order: Order, sent: Wrap) -> Unwrap: ...
def recalls_mail(order: Order, sent: SendMail) -> RecallMail: ...
def letters(order: Order, sent: SendMail | SendLetter, letter: LetterSent) -> RecallMail: ...
def of_either(order: Order) -> Over | OverByMail: ...


NOTIFY, WRAP = STEPS[0], STEPS[1]


def declare(*steps: Any, **more: Any) -> Saga[Order]:
    return Saga("post", start=Order, steps=steps, **more)


MISTAKES: Sequence[tuple[Any, str]] = [
    (lambda: declare(NOTIFY, Pivot(needs_mail, to="carrier")),
     "needs_mail needs MailSent, which notify does not always choose. Try: write mail: MailSent | None."),
    (lambda: declare(WRAP, Pivot(needs_paper, to="carrier")),
     "needs_paper needs Wrapped, which is not known where wrap is passed over or in doubt. Try: write paper:"
     " Wrapped | None."),
    (lambda: declare(NOTIFY, WRAP, Pivot(needs_two_steps, to="carrier")),
     "needs_two_steps needs MailSent | Wrapped, which no earlier step replies with."),
    (lambda: declare(Pivot(perhaps, to="carrier")),
     "perhaps is the pivot, but perhaps may return None. Try: let it always command something"),
    (lambda: declare(Pivot(twice, to="post")), "twice may return several messages that are called send-mail."),
    (lambda: declare(Pivot(cast(Any, mixed), to="post")), "mixed returns SendMail | Over, not a Command."),
    (lambda: declare(NOTIFY, Pivot(needs_both, to="carrier"), Retriable(refusing, to="post")),
     "refusing stands after the pivot, but SendMail may be refused"),
    (lambda: declare(Step(notify, to="post", compensation=refusing)),
     "SendMail undoes notify, but may be refused"),
    (lambda: declare(Pivot(oddly, to="post")), "may be refused as 'odd' with Retyped or Wrapped, as it chooses."),
    (lambda: declare(NOTIFY, Publish(told, early=True, retraction=untold)),
     "told is taken back when the saga is undone, but untold may return None."),
    (lambda: declare(Step(notify, to="post", compensation=of_another)), "of_another needs Wrap for 'sent'"),
    (lambda: declare(Step(notify, to="post", compensation=recalls_mail)),
     "recalls_mail needs SendMail, which notify does not always choose."),
    (lambda: declare(Step(notify, to="post", compensation=letters)),
     "letters needs LetterSent, which notify does not always choose."),
    (lambda: declare(Pivot(post.ship, to="carrier", name="x"), result=of_either),
     "ship needs MailSent | LetterSent, which no earlier step"),
    (lambda: declare(NOTIFY, result=of_either), "of_either returns Over | OverByMail, not a Message."),
    (lambda: declare(NOTIFY, Publish(told, early=True, retraction=of_either), compensated=of_either),
     "Over takes back what told published, and is published again at the end."),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES)
def test_what_cannot_work_is_a_sentence(mistake: Callable[[], object], sentence: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        mistake()
    assert sentence in str(caught.value)


def test_a_union_of_what_one_step_may_reply_is_always_known() -> None:
    saga = declare(NOTIFY, Pivot(needs_both, to="carrier"))
    assert "ship(notify: letter-sent | mail-sent, order)" in saga.fingerprint.text


def returns_neither(order: Order) -> SendMail | SendLetter:
    return Wrap(id=order.id)  # type: ignore[return-value]


def returns_none(order: Order) -> SendMail | SendLetter:
    return None  # type: ignore[return-value]


@pytest.mark.parametrize(("function", "made"), [(returns_neither, "Wrap"), (returns_none, "NoneType")])
def test_what_is_not_among_those_that_it_may_return_parks_the_saga(function: Any, made: str) -> None:
    run = run_of(LETTER, declare(Check(function, to="post")))
    assert run.instance.why_parked == f"{function.__name__} returned {made}, not SendMail or SendLetter"


def test_the_fingerprint_names_all_of_them_in_whatever_order() -> None:
    def notify(order: Order) -> SendLetter | SendMail: ...

    other = declare(
        Step(notify, to="post", compensation=recall), *STEPS[1:], completed=post.over, compensated=post.undone
    )
    assert other.fingerprint == SAGA.fingerprint
    assert SAGA.fingerprint.text == (
        "saga post, version 1, rules 1\n"
        "start order\n"
        "notify: step\n"
        "  do send-letter | send-mail(order) to post, answered by letter-sent | mail-sent\n"
        "  undo recall-letter | recall-mail(notify sent: send-letter | send-mail, notify: mail-sent or none, order)"
        " or none, answered by choros.done\n"
        "wrap: step\n"
        "  do wrap(order) or none to gifts, answered by wrapped\n"
        "  undo unwrap(order), answered by choros.done\n"
        "announce: publish\n"
        "  fact hurried | planned(order)\n"
        "presented: publish\n"
        "  fact presented(order, wrap: wrapped or none) or none\n"
        "ship: pivot\n"
        "  do ship | ship-fast(notify: letter-sent | mail-sent, order, wrap: wrapped or none) to carrier, answered by"
        " choros.done\n"
        "when completed: over | over-by-mail(notify: mail-sent or none, order)\n"
        "when compensated: undone(order) or none\n"
    )


def test_the_diagram_and_the_outline_name_all_of_them() -> None:
    drawn, told = mermaid(SAGA, {"over.v1": ["desk"], "over-by-mail.v1": ["desk", "mails"]}), outline(SAGA)
    assert '|"SendMail or SendLetter"|' in drawn
    assert '|"undo: RecallMail or RecallLetter or nothing"|' in drawn
    assert '("Over or OverByMail")' in drawn
    assert drawn.count('/"desk"/') == drawn.count('/"mails"/') == 1
    assert "Wrap or nothing to gifts (step), undone by Unwrap" in "\n".join(told)
    assert "may be refused with no_such_address, no_such_street, no_such_town" in "\n".join(told)
    assert "  Presented or nothing (held until the pivot): nobody subscribes" in told


def test_what_it_is_surely_refused_with_is_what_each_of_them_is() -> None:
    notified, _, shipped = SAGA.outline.commands
    assert (notified.sure_refusals, shipped.sure_refusals) == ([], ["closed"])


def test_all_of_them_are_messages_of_the_saga() -> None:
    declared = SAGA.outline
    assert {SendMail, SendLetter, Wrap, Unwrap, RecallMail, RecallLetter, Ship, ShipFast} <= {*declared.messages}
    assert {MailSent, LetterSent, Wrapped, Done} == {*declared.answers}
    facts: set[type[Message]] = {Hurried, Planned, Presented, Over, OverByMail, Undone}
    assert facts == {*declared.facts}
    assert all(issubclass(one, Fact) for one in facts)


# --- the proof --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "order", every_day([LETTER, MAIL, EXPRESS], [LETTER], pytest.mark.nightly), ids=["letter", "mail", "express"]
)
def test_every_interleaving_of_each_way_keeps_every_promise(order: Order) -> None:
    found = explore(SAGA, Bounds(), start=order.to_json())
    assert found.complete, found.story
    assert not found.notes
    assert set(found.ends) == {"completed", "compensated", "parked"}


def test_an_answer_says_nothing_of_its_type_to_what_never_chooses() -> None:
    run = Run()
    run.give(Answered("r", run.sent.key, 1, "ok", '{"payment_id":"p"}', kind=Done))
    assert run.instance.state("charge_payment").progress == "ok"
