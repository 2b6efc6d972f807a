"""Every duration at its ends: what is declared can be waited for and written, or is refused when it is declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from choros.app.service import Service
from choros.errors import DeclarationError
from choros.saga.machine.inputs import CancelRequested, TimerFired
from choros.saga.machine.instance import States
from choros.saga.machine.machine import begin, decide
from choros.saga.nodes import Check, Pivot, Retriable, Step
from choros.saga.policy import LONGEST, RetryPolicy
from choros.transport.fact_log import FactLog
from choros.wire.envelope import Envelope, decode, encode
from tests.saga.shop import PlaceOrder, charge_payment, refund_payment
from tests.saga.test_declaration import PAY, declare

ORDER = PlaceOrder(order_id="o1", total=1)
TICK = timedelta(microseconds=1)


def paying_step(**more: Any) -> Step:
    return Step(charge_payment, to="payment", compensation=refund_payment, **more)


def paying(**more: Any) -> Any:
    return declare(paying_step(**more))


PLACES: dict[str, Callable[[timedelta], Any]] = {
    "initial": lambda it: RetryPolicy(initial=it, max=LONGEST),
    "max": lambda it: RetryPolicy(initial=TICK, max=it),
    "total": lambda it: RetryPolicy(total=it),
    "timeout": lambda it: paying(timeout=it),
    "deadline": lambda it: declare(PAY, deadline=it),
}
"""Where a duration is declared, and any that is not nothing is taken."""


def remembering(duration: timedelta) -> Service:
    return Service("news", remember=duration)


NONE = [timedelta.max, timedelta.min, LONGEST + TICK, timedelta(0), -TICK]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("duration", NONE, ids=str)
def test_what_cannot_be_waited_for_is_refused(place: str, duration: timedelta) -> None:
    with pytest.raises(DeclarationError) as refused:
        PLACES[place](duration)
    assert refused.value.sentence


@pytest.mark.parametrize("duration", NONE, ids=str)
@pytest.mark.parametrize(
    "node",
    [Check(charge_payment, to="payment", taken_within=TICK), paying_step(taken_within=TICK)],
    ids=["Check", "Step"],
)
def test_no_command_is_to_be_taken_within_what_is_no_time(node: Any, duration: timedelta) -> None:
    declare(node)
    with pytest.raises(DeclarationError) as refused:
        declare(replace(node, taken_within=duration))
    assert refused.value.sentence


@pytest.mark.parametrize("kind", [Pivot, Retriable])
def test_what_is_never_given_up_is_not_bounded(kind: Any) -> None:
    with pytest.raises(TypeError, match="taken_within"):
        kind(charge_payment, to="payment", taken_within=TICK)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("duration", [TICK, timedelta(days=1), LONGEST], ids=str)
def test_what_can_be_is_taken(place: str, duration: timedelta) -> None:
    PLACES[place](duration)


@pytest.mark.parametrize("duration", NONE, ids=str)
def test_so_it_is_with_what_is_remembered_and_kept(duration: timedelta) -> None:
    with pytest.raises(DeclarationError):
        remembering(duration)
    with pytest.raises(DeclarationError):
        FactLog(max_age=duration)


def test_what_is_no_duration_is_refused_wherever_it_stands() -> None:
    half_a_minute: Any = 30
    for place in (*PLACES.values(), remembering):
        with pytest.raises(DeclarationError, match="no timedelta"):
            place(half_a_minute)


@pytest.mark.parametrize("total", [TICK, timedelta(minutes=15), LONGEST], ids=str)
@pytest.mark.parametrize("timeout", [TICK, LONGEST], ids=str)
def test_the_longest_and_the_shortest_can_be_sent(total: timedelta, timeout: timedelta) -> None:
    saga = paying(timeout=timeout, retry=RetryPolicy(total=total))
    sent = begin(saga.tree, "s1", ORDER.to_json(), 1.8e9, cause="c").sends[0]
    envelope = Envelope(
        id="c1", kind="command", type=sent.type, source="/s/a", time=1.8e9, data=sent.data, to=sent.to,
        correlation_id="s1", key=str(sent.key), saga="order", saga_version=1, step=sent.key.path, attempt=1,
        not_after=sent.not_after, reply_to="s.replies.a",
    )  # fmt: skip
    assert decode(encode(envelope)).not_after == pytest.approx(sent.not_after)


def test_a_deadline_that_an_older_choros_has_stored_can_be_sent_again() -> None:
    """It took `timedelta.max`; now that cannot be declared, and the saga goes on under a policy that can."""
    saga = paying()
    begun = begin(saga.tree, "s1", ORDER.to_json(), 1.8e9, cause="c").instance
    old = Envelope(id="c", kind="fact", type="t", source="/s/a", time=0, data="{}", not_after=1.8e9 + 8.64e13)
    with pytest.raises((ValueError, OverflowError, OSError)):
        encode(old)
    nodes = {path: replace(state, not_after=old.not_after) for path, state in begun.nodes.items()}
    carried = replace(begun, nodes=States(nodes))
    for given in (TimerFired(), CancelRequested("c2")):
        (again,) = decide(saga.tree, carried, [given], 1.8e9 + 31).sends
        encode(replace(old, not_after=again.not_after))


@pytest.mark.parametrize("version", [True, 0, 2**31, 1.5, "1"])
def test_a_version_that_no_receiver_takes_is_refused(version: Any) -> None:
    with pytest.raises(DeclarationError, match="version"):
        declare(PAY, version=version)
