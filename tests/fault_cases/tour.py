"""A saga with nodes in its nodes, of the messages and services of the trip: what each of its steps did stands in the
services' own files, under the name of the trip and of what it is for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from choros import Branch, ForEach, Parallel, Pivot, RetryPolicy, Saga, Scope, Step
from tests.fault_cases.trip import TOO_DEAR, Pack, Pay, PayBack, Plan, Unpack, ship

BAGS = (0, 1, 2)
SOON = RetryPolicy(initial=timedelta(milliseconds=20), max=timedelta(milliseconds=500), total=timedelta(seconds=60))
TIMEOUT = timedelta(seconds=3)


def paid(name: str) -> Step:
    """Pay for this, or get it back."""

    def pay(plan: Plan) -> Pay:
        return Pay(trip=f"{plan.trip} {name}")

    def pay_back(plan: Plan) -> PayBack:
        return PayBack(trip=f"{plan.trip} {name}")

    return _step(pay, "till", pay_back, name)


def packed(name: str) -> Step:
    """Have this packed by the provider, or unpacked."""

    def pack(plan: Plan) -> Pack:
        return Pack(trip=f"{plan.trip} {name}")

    def unpack(plan: Plan) -> Unpack:
        return Unpack(trip=f"{plan.trip} {name}")

    return _step(pack, "packer", unpack, name)


def _step(do: Callable[..., Pay | Pack], to: str, undo: Callable[..., PayBack | Unpack], name: str) -> Step:
    return Step(do, to=to, compensation=undo, name=name, timeout=TIMEOUT, retry=SOON, undo_retry=SOON)


def bags(plan: Plan) -> list[int]:
    return list(BAGS)


def pay_bag(plan: Plan, bag: int) -> Pay:
    return Pay(trip=f"{plan.trip} bag {bag}")


def pay_bag_back(plan: Plan, bag: int) -> PayBack:
    return PayBack(trip=f"{plan.trip} bag {bag}")


tour_saga = Saga(
    "tour",
    start=Plan,
    key=lambda plan: plan.trip,
    steps=(
        Parallel(paid("map"), Branch("gear", packed("tent"), paid("stove")), name="both"),
        Parallel(paid("train"), packed("bicycle"), first=1, name="race"),
        ForEach(bags, _step(pay_bag, "till", pay_bag_back, "bag"), at_once=2),
        Scope(packed("suit"), paid(TOO_DEAR), otherwise=paid("hostel"), name="night"),
        Pivot(ship, to="van", timeout=TIMEOUT, retry=SOON),
    ),
)  # fmt: skip
RACING = ("train", "bicycle")
TRIED = ("suit", TOO_DEAR)
STANDING = ("map", "tent", "stove", "hostel", *(f"bag {bag}" for bag in BAGS))
"""What there is of one that came to a good end, besides one of those that raced."""
