"""The same for each item: fixed on entry, so many at a time, each with its own key; undone the newest first of all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from choros.errors import DeclarationError
from choros.messages import Failure
from choros.saga.diagram import mermaid, outline
from choros.saga.machine.inputs import Answered, RetryRequested
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin, decide
from choros.saga.machine.rerun import kept_by, why_not
from choros.saga.nodes import Branch, ForEach, Parallel, Pivot, Retriable, Step, When
from choros.saga.nodes.each import MOST_ITEMS
from choros.saga.outline import Composite
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.testing import SagaTest
from choros.wire.command_key import CommandKey
from tests.saga.parcels import (
    Line,
    Off,
    Order,
    Paid,
    Pay,
    ReleaseLine,
    Reserved,
    ReserveLine,
    SendLine,
    WrapLine,
    Wrapped,
    is_gift,
    lines,
    off,
    order_of,
    parcels,
    release_line,
    reserve,
    reserve_line,
    saga_of,
    wrap,
)


def begun(saga: Saga[Order], order: Order) -> SagaTest:
    test = SagaTest(saga)
    test.start(order)
    return test


def payment(reserved: list[Reserved]) -> Pay:
    return Pay(shelves=[one.at for one in reserved])


def test_from_the_first_item_to_the_end() -> None:
    test = begun(parcels, order_of("a", "b", "c", gifts="b"))
    first, second = (test.expect_command(ReserveLine, at=f"lines[{index}]") for index in range(2))
    test.expect_nothing()
    assert str(first.key) == "saga:lines[0].reserve_line:1:do"
    second.reply(Reserved(at="B"))
    wrapped = test.expect_command(WrapLine(at="B"), at="lines[1]")
    first.reply(Reserved(at="A"))
    third = test.expect_command(ReserveLine(order="o1", article="c"))
    third.reply(Reserved(at="C"))
    wrapped.reply(Wrapped(paper="blue"))
    test.expect_command(Pay(shelves=["A", "B", "C"], papers=["none", "blue", "none"])).reply(Paid())
    for article in "abc":
        test.expect_command(SendLine(article=article)).reply()
    assert test.status == "completed"


def test_none_are_over_at_once() -> None:
    test = begun(parcels, order_of())
    test.expect_command(Pay(shelves=[], papers=[])).reply(Paid())
    assert test.status == "completed"


@pytest.mark.parametrize("order", ["abc", "bca", "cba"])
def test_replies_are_collected_in_the_order_of_the_items_and_undone_in_that_of_their_coming(order: str) -> None:
    saga = saga_of(ForEach(lines, reserve, at_once=3), Pivot(payment, to="payment"))
    test = begun(saga, order_of(*"abc"))
    sent = {one: test.expect_command(ReserveLine(order="o1", article=one)) for one in "abc"}
    for one in order:
        sent[one].reply(Reserved(at=one.upper()))
    test.expect_command(Pay(shelves=["A", "B", "C"])).refuse("declined")
    for one in reversed(order):
        test.expect_compensation(ReleaseLine(article=one, at=one.upper())).reply()
    assert test.status == "compensated"


def test_refused_in_one_all_are_undone_and_what_is_under_way_first() -> None:
    test = begun(parcels, order_of("a", "b", "c", "d", gifts="a"))
    test.expect_command(ReserveLine, at="lines[1]").reply(Reserved(at="B"))
    under_way = test.expect_command(ReserveLine, at="lines[2]")
    test.expect_command(ReserveLine, at="lines[0]").reply(Reserved(at="A"))
    test.expect_command(WrapLine).refuse("no_paper")
    test.expect_compensation(ReleaseLine(article="c")).reply()
    under_way.reply(Reserved())  # too late
    test.expect_compensation(ReleaseLine(article="a", at="A")).reply()
    test.expect_compensation(ReleaseLine(article="b", at="B")).reply()
    test.expect_facts(Off)
    test.expect_nothing()
    assert test.status == "compensated"
    assert test.instance.state("lines[3]").progress == "listed"


def test_a_refused_item_is_not_done() -> None:
    test = begun(parcels, order_of("a"))
    test.expect_command(ReserveLine).refuse("sold_out")
    test.expect_facts(Off)
    assert test.status == "compensated"


def test_a_timed_out_item_is_undone_too() -> None:
    once = Step(reserve_line, to="stock", compensation=release_line, retry=RetryPolicy(attempts=1))
    test = begun(saga_of(ForEach(lines, once)), order_of("a", "b"))
    test.expect_command(ReserveLine, at="lines[0]").reply(Reserved(at="A"))
    test.expect_command(ReserveLine, at="lines[1]").time_out()
    test.expect_compensation(ReleaseLine(article="b")).reply()
    test.expect_compensation(ReleaseLine(article="a", at="A")).reply()
    assert test.status == "compensated"


def test_the_items_are_asked_for_once() -> None:
    asked: list[str] = []

    def counted(order: Order) -> list[Line]:
        asked.append(order.order)
        return [*order.lines, Line(article=f"{len(asked)}")]

    saga = saga_of(ForEach(counted, reserve))
    test = begun(saga, order_of("a"))
    test.expect_command(ReserveLine, at="counted[0]").reply(Reserved())
    stored = Instance.loads(test.instance.dumps())
    assert stored == test.instance
    answer = Answered("r", CommandKey("saga", "counted[1].reserve_line", 1, "do"), 1, "ok", Reserved().to_json())
    assert decide(saga.tree, stored, [answer], 1.0).instance.status == "completed"
    assert asked == ["o1"]


def test_each_item_has_its_own_timer_and_retries() -> None:
    slow = Step(reserve_line, to="stock", compensation=release_line, retry=RetryPolicy(initial=timedelta(seconds=5)))
    test = begun(saga_of(ForEach(lines, slow, at_once=2)), order_of("a", "b"))
    failing, silent = (test.expect_command(ReserveLine, at=f"lines[{index}]") for index in range(2))
    failing.fail("ConnectionError")
    test.advance(timedelta(seconds=10))
    assert test.expect_command(ReserveLine, at="lines[0]").attempt == 2
    test.expect_nothing()
    silent.time_out()
    assert test.expect_command(ReserveLine, at="lines[1]").attempt == 2


def test_an_item_that_is_parked_holds_nobody_but_itself() -> None:
    def broken(line: Line) -> ReserveLine:
        return {"b": None}.get(line.article, ReserveLine(order="", article=line.article))  # type: ignore[return-value]

    saga = saga_of(ForEach(lines, Step(broken, to="stock", compensation=release_only), at_once=2))
    test = begun(saga, order_of(*"abcd"))
    for index in (0, 2, 3):
        test.expect_command(ReserveLine, at=f"lines[{index}]").reply(Reserved())
    assert (test.status, list(test.instance.parked_at)) == ("parked", ["lines[1].broken"])
    assert saga.at_work(test.instance) == "lines[1].broken"
    again = decide(saga.tree, test.instance, [RetryRequested("r", "lines[1].broken", 1)], 0.0)
    assert again.instance.status == "parked"
    test.cancel()
    for article in "dca":
        test.expect_compensation(ReleaseLine(article=article)).reply()
    assert test.status == "compensated"


def release_only(line: Line) -> ReleaseLine:
    return ReleaseLine(article=line.article)


def too_many(order: Order) -> list[Line]:
    return order.lines * 3


def of_another_kind(order: Order) -> list[Line]:
    return ["a"]  # type: ignore[list-item]


def no_list(order: Order) -> list[Line]:
    return iter(order.lines)  # type: ignore[return-value]


def surrogates(order: Order) -> list[str]:
    return ["\ud800"]


def raises(order: Order) -> list[Line]:
    raise KeyError


def release_any(order: Order) -> ReleaseLine:
    return ReleaseLine(article="any")


def reserve_any(order: Order) -> ReserveLine:
    return ReserveLine(order="", article="any")


BROKEN: Mapping[Callable[..., Sequence[Any]], str] = {
    too_many: "too_many returned 3 items; 2 are allowed",
    of_another_kind: "of_another_kind returned what is not all Line, or cannot be written",
    no_list: "no_list returned list_iterator, not a list",
    surrogates: "surrogates returned what is not all str, or cannot be written",
    raises: "raises raised KeyError",
}


@pytest.mark.parametrize("function", BROKEN, ids=lambda one: one.__name__)
def test_what_is_no_list_of_items_parks_the_loop(function: Callable[..., Sequence[Any]]) -> None:
    step = Step(reserve_any, to="stock", compensation=release_any)
    test = begun(saga_of(reserve_first, ForEach(function, step, limit=2, name="loop")), order_of("a"))
    test.expect_command(ReserveLine).reply(Reserved())
    assert dict(test.instance.parked_at)["loop"].parked == BROKEN[function]
    retried = decide(test.saga.tree, test.instance, [RetryRequested("r", "loop", 1)], 0.0)
    assert retried.instance.status == "parked"
    test.cancel()
    test.expect_compensation(ReleaseLine).reply()
    assert test.status == "compensated"


reserve_first = Step(reserve_any, to="stock", compensation=release_any, name="first")


# --- in each other ----------------------------------------------------------------------------------------------------


def halves(line: Line) -> tuple[str, ...]:
    return tuple(f"{line.article}{half}" for half in range(line.count))


def reserve_half(half: str, line: Line) -> ReserveLine:
    return ReserveLine(order=line.article, article=half)


def release_half(half: str, reserve_half: Reserved | None) -> ReleaseLine:
    return ReleaseLine(article=half, at=reserve_half.at if reserve_half else "?")


def gather(halves: tuple[Reserved, ...], line: Line) -> WrapLine:
    return WrapLine(at="".join(one.at for one in halves))


def pay_halves(halves: list[list[Reserved]], wrapped: tuple[Wrapped, ...]) -> Pay:
    return Pay(shelves=["".join(one.at for one in line) for line in halves], papers=[one.paper for one in wrapped])


nested = saga_of(
    ForEach(
        lines,
        [
            ForEach(halves, Step(reserve_half, to="stock", compensation=release_half), at_once=2),
            Step(gather, to="wrapping", compensation=release_only),
        ],
        at_once=2,
    ),
    Pivot(pay_halves, to="payment"),
)
FOURS = Order(lines=[Line(article="a", count=2), Line(article="b", count=0), Line(article="c", count=3)])


def test_a_loop_in_a_loop() -> None:
    test = begun(nested, FOURS)
    first = test.expect_command(ReserveLine, at="lines[0].halves[0]")
    second = test.expect_command(ReserveLine, at="lines[0].halves[1]")
    test.expect_command(WrapLine(at=""), at="lines[1]").reply(Wrapped(paper="b"))
    for half in range(3):
        test.expect_command(ReserveLine(order="c", article=f"c{half}"), at=f"lines[2].halves[{half}]").reply(
            Reserved(at=f"C{half}")
        )
    test.expect_command(WrapLine(at="C0C1C2"), at="lines[2]").reply(Wrapped(paper="c"))
    second.reply(Reserved(at="A1"))
    first.reply(Reserved(at="A0"))
    test.expect_command(WrapLine(at="A0A1"), at="lines[0]").reply(Wrapped(paper="a"))
    test.expect_command(Pay(shelves=["A0A1", "", "C0C1C2"], papers=["a", "b", "c"])).refuse("declined")
    for article in ("a", "a0", "a1", "c", "c2", "c1", "c0", "b"):
        assert test.expect_compensation(ReleaseLine).message.article == article
        test._answer(last(test), "ok", Reserved())
    assert test.status == "compensated"


def last(test: SagaTest) -> Any:
    (leg,) = [(path, state.leg) for path, state in test.instance.nodes.items() if state.leg]
    return type("Sent", (), {"key": CommandKey("saga", leg[0], 1, "undo"), "attempt": 1})


def test_a_loop_beside_another_node_and_one_with_branches_in_it() -> None:
    both = ForEach(lines, Parallel(reserve, Branch("paper", Step(wrap_item, to="wrapping", compensation=release_only))))
    saga = saga_of(Parallel(both, reserve_first), Pivot(payment, to="payment"))
    test = begun(saga, order_of("a", "b"))
    test.expect_command(ReserveLine, at="parallel.lines[0].parallel").reply(Reserved(at="A"))
    test.expect_command(WrapLine, at="parallel.lines[0].parallel.paper.wrap_item").reply(Wrapped())
    test.expect_command(ReserveLine, at="parallel.first").reply(Reserved(at="first"))
    refused = test.expect_command(ReserveLine, at="parallel.lines[1].parallel")
    test.expect_command(WrapLine, at="parallel.lines[1].parallel").reply(Wrapped())
    refused.refuse("sold_out")
    assert [test.expect_compensation(ReleaseLine).message.article for _ in undone(test, 4)] == ["b", "any", "a", "a"]
    assert test.status == "compensated"


def undone(test: SagaTest, count: int) -> Iterator[None]:
    for _ in range(count):
        yield
        test._answer(last(test), "ok", Reserved())


def wrap_item(line: Line) -> WrapLine:
    return WrapLine(at=line.article)


def wants_any(order: Order) -> bool:
    return bool(order.lines)


def perhaps(reserved: list[Reserved | None]) -> Pay:
    return Pay(shelves=[one.at if one else "?" for one in reserved])


@pytest.mark.parametrize("articles", ["", "ab"])
def test_a_loop_that_may_not_be_come_to(articles: str) -> None:
    test = begun(
        saga_of(When(wants_any, then=ForEach(lines, reserve)), Pivot(perhaps, to="payment")), order_of(*articles)
    )
    for one in articles:
        test.expect_command(ReserveLine(order="o1", article=one)).reply(Reserved(at=one))
    test.expect_command(Pay(shelves=list(articles))).refuse("declined")
    for one in reversed(articles):
        test.expect_compensation(ReleaseLine(article=one, at=one)).reply()
    assert test.status == "compensated"


# --- what a declaration may not say -----------------------------------------------------------------------------------


def unlisted(order: Order) -> Line:
    return order.lines[0]


def pair(order: Order) -> tuple[Line, Line]:
    return order.lines[0], order.lines[1]


class Opaque:
    pass


def opaque(order: Order) -> list[Opaque]:
    return []


def orders(order: Order) -> list[Order]:
    return [order]


def one_reply(reserved: Reserved) -> Pay:
    return Pay(shelves=[])


def pays_sure(reserved: list[Reserved], wrapped: list[Wrapped]) -> Pay:
    return Pay(shelves=[])


def two_loops(line: Line, lines: Line) -> ReserveLine:
    return ReserveLine(order="", article=line.article)


def a_list(reserved: list[Reserved]) -> WrapLine:
    return WrapLine(at="")


def of_lines(lines: list[Line]) -> Pay:
    return Pay(shelves=[])


def of_a_pair(reserved: tuple[Reserved, Reserved]) -> Pay:
    return Pay(shelves=[])


pivot = Pivot(reserve_line, to="stock")


def deep(length: int) -> ForEach:
    """A loop with a step in three choices, whose path is so long."""
    inner: Any = replace(reserve, name="r" * (length - len("lines[].") - 3 * 49))
    for number in range(3):
        inner = When(is_gift, then=inner, name=f"w{number}".ljust(48, "w"))
    return ForEach(lines, inner)


MISTAKES: Mapping[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: ForEach(lines, []), "there is nothing to do for each of lines."),
    "pivot": (lambda: ForEach(lines, [pivot]), "there is a pivot in ForEach(lines), and there may be many items or"),
    "a long path": (lambda: deep(194), "has a path of up to 201 characters; 200 fit into a command key"),
    "no list": (lambda: ForEach(cast(Any, unlisted), reserve), "returns a list, but unlisted returns Line"),
    "no function": (
        lambda: ForEach(cast(Any, 3), reserve, name="three"),
        "saga 'parcels': 3 is no function. Try: write one that returns a list.",
    ),
    "pair": (lambda: ForEach(pair, reserve), "takes a function that returns a list, but pair returns tuple"),
    "opaque": (lambda: ForEach(opaque, reserve), "opaque returns Opaque, which cannot be written as JSON"),
    "start": (lambda: ForEach(orders, reserve), "its items are of the type that the saga starts with"),
    "no number": (lambda: ForEach(lines, reserve, at_once=True), "at_once=True is no number from 1 to 1000"),
    "none": (lambda: ForEach(lines, reserve, at_once=0), "at_once=0 is no number from 1 to 1000"),
    "too many": (lambda: ForEach(lines, reserve, limit=MOST_ITEMS + 1), "is no number from 1 to 10000"),
    "no node": (lambda: ForEach(lines, [cast(Any, reserve_line)]), "reserve_line is no step"),
    "behind": (
        lambda: (ForEach(lines, reserve), Pivot(one_reply, to="payment")),
        "one_reply needs Reserved for 'reserved', but lines[].reserve_line replies once for each item",
    ),
    "just two": (
        lambda: (ForEach(lines, reserve), Pivot(of_a_pair, to="payment")),
        "of_a_pair needs tuple[tests.saga.parcels.Reserved, tests.saga.parcels.Reserved]",
    ),
    "beside": (
        lambda: ForEach(lines, [reserve, Step(a_list, to="wrapping", compensation=release_only)]),
        "a_list needs Reserved for 'reserved', but lines[].reserve_line replies once",
    ),
    "maybe": (
        lambda: (ForEach(lines, [reserve, When(is_gift, then=wrap)]), Pivot(pays_sure, to="payment")),
        "write wrapped: list[Wrapped | None]",
    ),
    "items": (
        lambda: (ForEach(lines, reserve), Pivot(of_lines, to="payment")),
        "needs list[tests.saga.parcels.Line] for 'lines', which is neither Order nor a reply",
    ),
    "several": (
        lambda: ForEach(lines, ForEach(lines, Step(two_loops, to="stock", compensation=release_any), name="again")),
        "two_loops needs Line, which is an item of several loops",
    ),
}  # fmt: skip


def test_a_path_may_fill_its_key_with_the_longest_index() -> None:
    assert [len(path) for path in saga_of(deep(193)).outline.paths] == [193]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_sentences(mistake: str) -> None:
    written, sentence = MISTAKES[mistake]
    steps = written()
    with pytest.raises(DeclarationError) as refused:
        saga_of(*(steps if isinstance(steps, tuple) else (steps,)))
    assert sentence in f"{refused.value} {refused.value.hint}"


def test_its_outline_says_how_many_at_a_time() -> None:
    part = saga_of(ForEach(lines, reserve, at_once=7)).outline.nodes["lines"]
    assert isinstance(part, Composite) and part.loop
    assert (part.loop.at_once, [limb.name for limb in part.limbs]) == (7, ["each"])


# --- how it is shown --------------------------------------------------------------------------------------------------


def test_the_picture_has_a_box_around_it() -> None:
    drawn = mermaid(parcels).splitlines()
    box = drawn.index('    subgraph s0["for each of lines: Line, 2 at a time"]')
    inside = drawn[box + 1 : drawn.index("    end")]
    assert any("lines[].reserve_line" in line for line in inside)
    assert not any("-->" in line for line in inside)


def test_the_outline_says_for_what() -> None:
    assert "  lines (for each of lines: Line, 2 at a time):" in outline(parcels)


def test_the_fingerprint_holds_the_items_and_what_fills_each_function() -> None:
    text = parcels.fingerprint.text
    assert "lines: for each\n  of Line(order): reserve_line, is_gift\n" in text
    assert "lines[].reserve_line: step\n  do reserve-line(lines[]: Line, order) to stock" in text
    assert "do pay(lines[].is_gift.wrap_line: each wrapped or none, lines[].reserve_line: each reserved) to" in text
    assert (
        parcels.fingerprint.hash
        == saga_of(
            ForEach(lines, [reserve, When(is_gift, then=wrap)], at_once=9, limit=7), *parcels.steps[1:], compensated=off
        ).fingerprint.hash
    )


def test_a_forged_answer_to_an_item_that_there_is_not_is_a_stray() -> None:
    begins = begin(parcels.tree, "s", order_of("a").to_json(), 0.0, cause="start")
    for path in ("lines[7].reserve_line", "lines[00].reserve_line", "lines.reserve_line", "lines[-1].reserve_line"):
        answer = Answered("r", CommandKey("s", path, 1, "do"), 1, "ok", Reserved().to_json())
        assert decide(parcels.tree, begins.instance, [answer], 1.0).strays == ("r",)


def test_a_loop_before_the_step_that_a_saga_is_run_again_from_is_kept_with_its_items() -> None:
    saga = saga_of(ForEach(lines, reserve, at_once=2), Pivot(payment, to="payment"), behind)
    test = begun(saga, order_of("a", "b"))
    for index in (1, 0):
        test.expect_command(ReserveLine, at=f"lines[{index}]").reply(Reserved(at=f"{index}"))
    test.expect_command(Pay).reply(Paid())
    test.expect_command(SendLine).reply()
    assert "stands in lines" in why_not(saga.outline, test.instance, "lines[].reserve_line")
    kept = kept_by(saga.outline, test.instance, "payment")
    again = begin(saga.tree, "s2", order_of("a", "b").to_json(), 0.0, cause="start", kept=kept)
    pay_leg = again.instance.state("payment").leg
    assert pay_leg
    assert Pay.from_json(pay_leg.command).shelves == ["0", "1"]
    refused = Answered("r", again.sends[0].key, 1, "refused", Failure(code="declined").to_json(), "declined")
    undoing = decide(saga.tree, again.instance, [refused], 1.0)
    assert [str(send.key) for send in undoing.sends] == ["saga:lines[0].reserve_line:1:undo"]


def send_all(order: Order) -> SendLine:
    return SendLine(article=order.order)


behind = Retriable(send_all, to="mail", name="behind")
