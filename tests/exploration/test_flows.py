"""Every interleaving of a choreographed flow: what keeps its promises is walked to the end, what breaks one is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from choros import DeclarationError
from choros.app.flow_checks import check_flow
from choros.app.flow_courses import courses
from choros.app.flow_outline import FlowOutline
from choros.app.flow_reactions import reached_from
from choros_verify.exploration.flow_rules import FlowRules
from choros_verify.exploration.flows import FLOW_MUTANTS, explore_flow, flow_mutants, flow_report_lines
from tests.app import flow_shop as shop
from tests.app.flow_shop import order_flow
from tests.cli.test_cli import Choros, choros
from tests.exploration import flow_examples as flows
from tests.exploration.flow_examples import BESIDE, OrderFailing, having, reaction, without

__all__ = ["choros"]  # the fixture

CHAIN = order_flow().outline
RETURN = reaction("shipping.take_back", OrderFailing, undoes=shop.PaymentCharged, says=flows.ParcelReturned)
RETRACTED = replace(
    without(flows.FAIL),
    retraction=flows.OrderWithdrawn,
    reactions=[
        *without(flows.FAIL).reactions, RETURN,
        *(replace(one, hears=(flows.OrderWithdrawn,)) for one in (flows.REFUND, flows.RELEASE, RETURN)),
        reaction(
            "orders.fail", shop.PaymentRefunded, shop.StockReleased, flows.ParcelReturned, says=shop.OrderFailed
        ),
    ],
)  # fmt: skip
SHORT = replace(
    BESIDE,
    turns=(), bad=(), retraction=flows.OrderWithdrawn,
    reactions=[
        reaction("payment.charge", shop.OrderPlaced, says=shop.PaymentCharged),
        reaction("shipping.ship", shop.PaymentCharged, says=shop.ParcelShipped),
        reaction("orders.complete", shop.ParcelShipped, says=shop.OrderCompleted),
        replace(flows.REFUND, hears=(flows.OrderWithdrawn,)), replace(RETURN, hears=(flows.OrderWithdrawn,)),
    ],
)  # fmt: skip


@pytest.mark.parametrize("flow", [CHAIN, BESIDE, flows.RACING, flows.TWICE_BAD], ids=["chain", "beside", "race", "bad"])
def test_a_flow_is_walked_completely(flow: FlowOutline) -> None:
    told = explore_flow(flow)
    assert told.complete, told.story
    assert set(told.ends) == {"order-completed.v1", "order-failed.v1"}
    assert "✔ complete: every interleaving within these budgets" in flow_report_lines(told)[-1]
    check_flow(flow, flow.reactions, courses(flow))


def test_at_rest_all_stands_or_nothing() -> None:
    assert {(rest.standing, rest.ended, rest.waiting) for rest in explore_flow(BESIDE).rests} == {
        (frozenset(), frozenset({"order-failed.v1"}), frozenset()),
        (
            frozenset({"payment.charge", "inventory.reserve", "shipping.ship"}), frozenset({"order-completed.v1"}),
            frozenset(),
        ),
    }  # fmt: skip


BREAKS = {
    "no inbox": (BESIDE, "the effect of payment.charge is there twice"),
    "no tombstone": (BESIDE, "the flow has ended with OrderFailed, and inventory.reserve stands"),
    "no undo row": (flows.TWICE_BAD, "the effect of payment.charge is undone twice"),
    "told though withdrawn": (BESIDE, "inventory.reserve has said StockReserved, and has done nothing"),
    "no without rollback": (BESIDE, "the flow has ended with OrderFailed, and payment.charge stands"),
    "gives up without tombstone": (BESIDE, "the flow has ended with OrderFailed, and shipping.ship stands"),
    "gives up what is done": (BESIDE, "payment.charge has said PaymentCharged, and has done nothing"),
    "join fires on one": (BESIDE, "shipping.ship hears StockReserved as well, and is parked: it has had another cause"),
    "closer without row": (flows.RACING, "payment.charge is undone, and the flow has ended well"),
    "undo of nothing is silent": (BESIDE, "the flow never ends: nothing more comes of OrderPlaced, PaymentDeclined"),
}  # fmt: skip
"""Each rule, with a flow that needs it, and what is broken without it."""


@pytest.mark.parametrize("name", [*FLOW_MUTANTS])
def test_each_rule_is_needed(name: str) -> None:
    flow, sentence = BREAKS[name]
    assert explore_flow(flow).complete
    told = explore_flow(flow, rules=FLOW_MUTANTS[name][1])
    assert sentence in told.violation, told
    assert told.story[0] == "Somebody says OrderPlaced"
    assert len(told.story) <= 14


def test_the_page_lists_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    rows = page[page.index("| without the rule | what") : page.index("### The same work")].splitlines()[2:]
    listed = dict([part.strip() for part in row.split("|")[1:3]] for row in rows if row)
    assert {name: f"{said[:1].upper()}{said[1:]}." for name, said in listed.items()} == {
        name: what for name, (what, _) in FLOW_MUTANTS.items()
    }


def test_all_mutants_in_a_row() -> None:
    told = {name: bool(report.violation) for name, _, report in flow_mutants(CHAIN)}
    assert list(told) == list(FLOW_MUTANTS)
    assert told["no inbox"] and not told["join fires on one"]


@pytest.mark.parametrize("number", range(len(BESIDE.reactions)))
def test_what_misses_a_reaction_is_refused_and_found(number: int) -> None:
    """The check that is quick and the walk that is complete agree on what a flow cannot do without."""
    broken = without(BESIDE.reactions[number])
    assert explore_flow(broken).violation
    with pytest.raises(DeclarationError):
        check_flow(broken, broken.reactions, courses(broken))


def changed(flow: FlowOutline) -> Iterator[FlowOutline]:
    """The flow; and with one reaction left out, silent, or at another fact."""
    yield flow
    for number, one in enumerate(flow.reactions):
        others = [*flow.reactions[:number], *flow.reactions[number + 1 :]]
        elsewhere = [replace(one, hears=(fact,)) for fact in flow.facts if fact not in one.hears]
        for instead in ([], [replace(one, silent=True)], *([other] for other in elsewhere)):
            reactions = [*others[:number], *instead, *others[number:]]
            yield replace(flow, reactions=reached_from([flow.start], reactions))


@pytest.mark.parametrize(
    ("flow", "unseen"), [(CHAIN, 0), (flows.RACING, 1), (flows.TWICE_BAD, 0)], ids=["chain", "race", "bad"]
)
def test_what_the_walk_finds_broken_the_check_refuses(flow: FlowOutline, unseen: int) -> None:
    """But for a turn at the start, which hears no no: then nobody but the walk knows that the no has done nothing."""
    passed = [one for one in changed(flow) if is_accepted(one)]
    assert sum(bool(explore_flow(one).violation) for one in passed) == unseen
    assert passed[0] is flow


def is_accepted(flow: FlowOutline) -> bool:
    try:
        check_flow(flow, flow.reactions, courses(flow))
    except DeclarationError:
        return False
    return True


def test_a_missing_undo_leaves_an_effect() -> None:
    joined = reaction("orders.fail", shop.StockReleased, says=shop.OrderFailed)
    broken = replace(
        without(flows.REFUND, flows.FAIL), reactions=[*without(flows.REFUND, flows.FAIL).reactions, joined]
    )
    told = explore_flow(broken)
    assert told.violation == "the flow has ended with OrderFailed, and payment.charge stands"
    with pytest.raises(DeclarationError, match=r"payment\.charge stands: nobody undoes it"):
        check_flow(broken, broken.reactions, courses(broken))


def test_a_second_undoer_is_found() -> None:
    again = reaction("payment.again", shop.OutOfStock, undoes=shop.OrderPlaced, says=flows.PaymentReversed)
    told = explore_flow(having(again))
    assert told.violation == "payment.again and payment.refund both undo payment.charge in one flow"
    with pytest.raises(DeclarationError, match="both undo"):
        check_flow(having(again), having(again).reactions, courses(having(again)))


def test_a_bad_end_before_all_is_undone_is_found() -> None:
    hasty = reaction("orders.hasty", OrderFailing, says=shop.OrderFailed)
    told = explore_flow(having(hasty))
    assert told.violation.startswith("the flow has ended with OrderFailed, and ")


def test_a_second_cause_is_found() -> None:
    also = reaction("fraud.look", shop.OrderPlaced, says=(shop.PaymentCharged,))
    told = explore_flow(replace(having(also), standing=(also.function,)))
    assert "and is parked: it has had another cause" in told.violation or "second" in told.violation


@pytest.mark.parametrize("flow", [SHORT, pytest.param(RETRACTED, marks=pytest.mark.long)], ids=["short", "beside"])
def test_what_takes_the_start_back_undoes_a_good_end_too(flow: FlowOutline) -> None:
    told = explore_flow(flow)
    assert told.complete, told.story
    after_good = [one for one in told.rests if {"order-withdrawn.v1", "order-completed.v1"} <= one.told]
    assert after_good and not any(one.standing for one in after_good)
    check_flow(flow, flow.reactions, courses(flow))
    left = replace(flow, reactions=[one for one in flow.reactions if one.hears != (flows.OrderWithdrawn,)])
    assert explore_flow(left).violation.startswith("the flow is taken back, and ")
    with pytest.raises(DeclarationError, match=r"nobody undoes .* then"):
        check_flow(left, left.reactions, courses(left))


def test_what_goes_round_is_cut_and_said() -> None:
    told = explore_flow(flows.ROUND, rounds=2)
    assert not told.complete and not told.violation
    assert "NOT complete" in flow_report_lines(told)[-1]


def test_a_cap_of_states_is_said() -> None:
    told = explore_flow(BESIDE, most_states=20)
    assert not told.complete and not told.violation


def test_as_json() -> None:
    told = explore_flow(BESIDE, rules=FlowRules(inbox=False)).to_json()
    assert (told["schema"], told["held"], told["flow"], told["invariant"]) == (
        "choros.verify.flow/1",
        False,
        "order",
        1,
    )
    assert "rests" not in told


# --- at the command line ---

SHOP = "tests.app.test_flow_diagram:SHOP"


def test_verify_walks_flows(choros: Choros) -> None:
    said = choros("verify", SHOP, "--json", "found.json")
    assert (said.code, said.out.count("✔ complete")) == (0, 2)
    found = json.loads(Path("found.json").read_text())
    assert [(one["flow"], one["version"], one["held"]) for one in found["flows"]] == [
        ("order", 1, True), ("other", 2, True),
    ]  # fmt: skip


def test_verify_takes_rules_out_of_one_flow(choros: Choros) -> None:
    said = choros("verify", SHOP, "--flow", "order", "--mutants")
    assert (said.code, said.out.count("✔ complete")) == (0, 1)
    assert "✔ mutant 'no inbox': A fact that comes again is handled again." in said.out
    assert "– mutant 'join fires on one'" in said.out
    assert choros("verify", SHOP, "--flow", "ordre").code == 2
