"""The pivot: what stands before it can be undone; once it is carried out, the saga only goes forward.

Money is held, then paid out, which nothing undoes. What stands behind it is tried until it succeeds: here a printer
that is out of paper at first.
"""

import asyncio
import logging
from datetime import timedelta

from choros import App, Command, Done, Message, Pivot, Refused, Retriable, RetryPolicy, Saga, Service, Step, running


class Transfer(Message):
    """What the saga starts with."""

    number: str


class HoldMoney(Command[Done]):
    """Before the pivot."""

    number: str


class ReleaseMoney(Command[Done]):
    """Undoes it."""

    number: str


class PayOut(Command[Done], refusals=("account_closed",)):
    """The pivot. Where it is refused, all before it is undone."""

    number: str


class PrintReceipt(Command[Done]):
    """Behind the pivot nothing may be refused, and nothing needs an undo."""

    number: str


def hold_money(start: Transfer) -> HoldMoney:
    """First what can be undone."""
    return HoldMoney(number=start.number)


def release_money(start: Transfer) -> ReleaseMoney:
    """Undoes it."""
    return ReleaseMoney(number=start.number)


def pay_out(start: Transfer) -> PayOut:
    """Then the go or no-go."""
    return PayOut(number=start.number)


def print_receipt(start: Transfer) -> PrintReceipt:
    """Then what must be done in any case."""
    return PrintReceipt(number=start.number)


transfer_saga = Saga(
    "transfer",
    start=Transfer,
    key=lambda start: start.number,
    steps=(
        Step(hold_money, to="bank", compensation=release_money),
        Pivot(pay_out, to="bank"),
        Retriable(print_receipt, to="office", retry=RetryPolicy(initial=timedelta(milliseconds=50))),
    ),
)
bank, office = Service("bank"), Service("office")
tray = iter(("empty", "empty", "full"))


@bank.handles(HoldMoney)
async def hold(command: HoldMoney) -> Done:
    """Can be undone."""
    print(f"{command.number}: money is held")
    return Done()


@bank.handles(ReleaseMoney)
async def release(command: ReleaseMoney) -> Done:
    """Undoes it."""
    print(f"{command.number}: money is released")
    return Done()


@bank.handles(PayOut)
async def pay(command: PayOut) -> Done:
    """Says yes or no for good."""
    if command.number == "T2":
        raise Refused("account_closed")
    print(f"{command.number}: paid out")
    return Done()


@office.handles(PrintReceipt)
async def write_receipt(command: PrintReceipt) -> Done:
    """Whatever else is raised is a failure: the same command comes again."""
    if next(tray) == "empty":
        print(f"{command.number}: no paper")
        raise RuntimeError("no paper")
    print(f"{command.number}: the receipt is printed")
    return Done()


app = App("money", sagas=[transfer_saga], services=[bank, office])


async def main() -> None:
    """One that is carried through, and one that is undone."""
    logging.getLogger("choros").setLevel(logging.CRITICAL)  # it logs each failure, with its traceback
    async with running(app) as client:
        for number in ("T1", "T2"):
            outcome = await client.run(transfer_saga, Transfer(number=number))
            print(f"{number}: {outcome.status}")


if __name__ == "__main__":
    asyncio.run(main())
