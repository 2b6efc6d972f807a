"""`choros check` on copies of the order saga: the unspoilt one passes, each mistake is one sentence that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_services.order import app as order_app
from reference_services.order import saga as order_saga
from tests.end_to_end.shop import Ended, choros
from tests.every_day import every_day

pytestmark = pytest.mark.slow
SAGA, APP = (Path(str(module.__file__)).read_text() for module in (order_saga, order_app))
PAYMENT = 'Step(charge_payment, to="payment", compensation=refund_payment),'
INVENTORY = 'Step(reserve_inventory, to="inventory", compensation=release_inventory),'
STEPS_END = "    ),\n    completed="
MORE = """class {0}(Command[Done]{1}):
    order_id: str


def {2}(order: PlaceOrder) -> {0}:
    return {0}(order_id=order.order_id)


"""
MAYBE = MORE.format("MaybeRelease", ", refusals=('no',)", "maybe_release")
RESERVE, RELEASE = "def reserve_inventory(order: PlaceOrder", "def release_inventory(order: PlaceOrder"

# What is wrong: (old text, new text), ..., and what the sentence must name.
MISTAKES: dict[str, tuple[list[tuple[str, str]], str]] = {
    "no compensation": (
        [(PAYMENT, 'Step(charge_payment, to="payment"),')],
        "charge_payment has no compensation",
    ),
    "two pivots": (
        [(INVENTORY, 'Pivot(reserve_inventory, to="inventory"),')],
        "two pivots, reserve_inventory and ship_order",
    ),
    "a retriable that may be refused": (
        [(STEPS_END, '        Retriable(charge_payment, to="payment", name="charge_again"),\n' + STEPS_END)],
        "charge_again stands after the pivot, but ChargePayment may be refused (credit_limit_exceeded)",
    ),
    "a step after the pivot": (
        [
            (PAYMENT, ""),
            (STEPS_END, f"        {PAYMENT}\n{STEPS_END}"),
        ],
        "charge_payment can be undone, but stands after the pivot",
    ),
    "an early fact that nobody takes back": (
        [
            (INVENTORY, f"{INVENTORY}\n        Publish(order_placed, early=True),"),
            ("order_saga = Saga(", "def order_placed(order: PlaceOrder) -> OrderRejected: ...\n\n\norder_saga = Saga("),
        ],
        "order_placed is published early, but nothing takes it back",
    ),
    "an unknown service": (
        [('to="payment"', 'to="bank"')],
        "charge_payment goes to 'bank', which no service is called",
    ),
    "a service that does not handle it": (
        [('to="inventory"', 'to="shipping"')],
        "reserve_inventory sends ReserveInventory to 'shipping', which nobody there is declared to handle",
    ),
    "a command that nobody handles": (
        [
            (INVENTORY, f'{INVENTORY}\n        Step(wrap, to="inventory", compensation=release_inventory),'),
            ("order_saga = Saga(", MORE.format("Wrap", "", "wrap") + "order_saga = Saga("),
        ],
        "wrap sends Wrap to 'inventory', which nobody there is declared to handle",
    ),
    "a compensation that may be refused": (
        [
            ("compensation=release_inventory", "compensation=maybe_release"),
            ("order_saga = Saga(", MAYBE + "order_saga = Saga("),
        ],
        "MaybeRelease undoes reserve_inventory, but may be refused (no)",
    ),
    "a reply that no earlier step gives": (
        [(RESERVE, f"{RESERVE}, shipped: OrderShipped")],
        "reserve_inventory needs OrderShipped, which no earlier step replies with",
    ),
    "steps in the wrong order": (
        [(INVENTORY, "")],
        "ship_order needs InventoryReserved, which no earlier step replies with",
    ),
    "an undo that counts on its own reply": (
        [(RELEASE, f"{RELEASE}, reserved: InventoryReserved")],
        "release_inventory needs InventoryReserved, which may not be known by then",
    ),
    "two steps of one name": (
        [(INVENTORY, f"{INVENTORY}\n        {INVENTORY}")],
        "two steps are called reserve_inventory",
    ),
    "two sagas of one name": (
        [("sagas=(order_saga,)", "sagas=(order_saga, order_saga)")],
        "saga 'order' is declared twice in version 1",
    ),
    "an async function": (
        [("def charge_payment(", "async def charge_payment(")],
        "charge_payment is async",
    ),
    "a parameter without a type": (
        [("def charge_payment(order: PlaceOrder)", "def charge_payment(order)")],
        "charge_payment does not say what its parameter 'order' is",
    ),
    "a function without a return type": (
        [("def refund_payment(order: PlaceOrder) -> RefundPayment:", "def refund_payment(order: PlaceOrder):")],
        "refund_payment does not say what it returns",
    ),
    "a fact where a command belongs": (
        [("-> ChargePayment:", "-> OrderConfirmed:")],
        "charge_payment returns OrderConfirmed, not a Command",
    ),
    "a name that choros keeps for itself": (
        [('to="payment"', 'to="replies"')],
        "charge_payment goes to 'replies', a name that choros keeps for itself",
    ),
    "no time to answer": (
        [(PAYMENT, PAYMENT.replace("),", ", timeout=timedelta(0)),"))],
        "charge_payment has no time to answer",
    ),
    "a completed fact that needs the failure": (
        [("completed=order_confirmed", "completed=order_rejected")],
        "order_rejected takes a Failure, but a completed saga has no failure",
    ),
}


def check(folder: Path, changes: list[tuple[str, str]]) -> Ended:
    """Write the copy as a package of its own, `copied`, and check it."""
    package = folder / "copied"
    package.mkdir()
    (package / "__init__.py").write_text("")
    imports = "from choros import Command, Done, Publish, Retriable\n"
    texts = {"saga.py": SAGA.replace("from choros import", imports + "from choros import", 1), "app.py": APP}
    for old, new in changes:
        assert any(old in text for text in texts.values()), f"the order saga has no {old!r} any more"
        texts = {name: text.replace(old, new) for name, text in texts.items()}
    for name, text in texts.items():
        (package / name).write_text(text.replace("reference_services.order.saga", "copied.saga"))
    return choros("check", "copied", cwd=folder, within=240)


def test_the_unspoilt_copy_passes(tmp_path: Path) -> None:
    ended = check(tmp_path, [])
    assert (ended.code, ended.err) == (0, "")
    lines = [line.strip() for line in ended.lines]
    assert any(line.startswith("charge_payment: ChargePayment to payment (step), undone by Refund") for line in lines)
    assert any(line.startswith("ship_order: ShipOrder to shipping (pivot") for line in lines)
    assert "OrderConfirmed (when completed): notifications, analytics" in lines
    assert "OrderRejected (when compensated): notifications" in lines


@pytest.mark.parametrize(
    "mistake", every_day(MISTAKES, ("no compensation", "two pivots", "an unknown service"), pytest.mark.nightly)
)
def test_a_planted_mistake_is_refused(tmp_path: Path, mistake: str) -> None:
    changes, words = MISTAKES[mistake]
    ended = check(tmp_path, changes)
    assert ended.code == 1, ended
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1, ended.err
    assert ended.err.startswith("✖ ")
    assert words in ended.err
    assert "Try: " in ended.err


def test_all_mistakes_differ() -> None:
    sentences = [words for _, words in MISTAKES.values()]
    assert len(set(sentences)) == len(sentences) >= 20
