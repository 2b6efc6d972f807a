"""A provider: effects that are outside of every database of ours, such as a bank's.

Nothing can make the call and our own commit one transaction, so the bank gets an idempotency key: the same on every
attempt. Here the line breaks after the bank has charged, and before its answer has come.
"""

import asyncio
import logging
from datetime import timedelta

from choros import App, Call, Command, Message, Pivot, Reply, RetryPolicy, Saga, Service, running


class Bank:
    """Somebody else's, and reached over a bad line."""

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}
        self.calls = 0

    def charge(self, key: str, pence: int) -> str:
        """What it has done under this key it does not do again."""
        self.calls += 1
        self.charges.setdefault(key, pence)
        if self.calls == 1:
            raise ConnectionError("the line is dead")
        return f"receipt {len(self.charges)}"


class Buy(Message):
    """What the saga starts with."""

    order: str
    pence: int


class Charged(Reply):
    """What the till answers."""

    receipt: str


class Charge(Command[Charged]):
    """An order to the till."""

    order: str
    pence: int


def charge(start: Buy) -> Charge:
    """The only step."""
    return Charge(order=start.order, pence=start.pence)


often = RetryPolicy(initial=timedelta(milliseconds=50))
purchase = Saga("purchase", start=Buy, key=lambda start: start.order, steps=(Pivot(charge, to="till", retry=often),))
till, bank = Service("till"), Bank()


@till.provider(Charge)
async def charge_card(command: Charge, call: Call) -> Charged:
    """The intent is written down before this is called, and the answer after it."""
    print(f"{command.order}: attempt {call.attempt}")
    return Charged(receipt=bank.charge(call.key, command.pence))


app = App("shop", sagas=[purchase], services=[till])


async def main() -> None:
    """Buys once."""
    logging.getLogger("choros").setLevel(logging.CRITICAL)  # it logs each failure, with its traceback
    async with running(app) as client:
        outcome = await client.run(purchase, Buy(order="o1", pence=4200))
    print(f"o1: {outcome.status}; the bank was called {bank.calls} times, and has charged {sum(bank.charges.values())}")


if __name__ == "__main__":
    asyncio.run(main())
