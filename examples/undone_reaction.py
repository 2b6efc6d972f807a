"""An undone reaction: a subscriber acts on a fact that was published early, and takes it back when the saga is undone.

Facts are not tracked, and the withdrawal may come before the announcement. With `undoes=` both handlers stand behind
one barrier in the subscriber's own database, so the kitchen never ends up cooking for nobody.
"""

import asyncio

from choros import (
    Addresses,
    App,
    Command,
    Done,
    Fact,
    MemoryTransaction,
    Message,
    Pivot,
    Publish,
    Refused,
    Saga,
    Service,
    running,
)


class BookTable(Message):
    """What the saga starts with."""

    guest: str


class TableWanted(Fact):
    """Said before it is certain."""

    guest: str


class TableNotWanted(Fact):
    """Its retraction."""

    guest: str


class TakeDeposit(Command[Done], refusals=("card_declined",)):
    """An order to the till."""

    guest: str


def table_wanted(start: BookTable) -> TableWanted:
    """Published at once."""
    return TableWanted(guest=start.guest)


def table_not_wanted(start: BookTable) -> TableNotWanted:
    """Published where the saga is undone."""
    return TableNotWanted(guest=start.guest)


def take_deposit(start: BookTable) -> TakeDeposit:
    """The go or no-go."""
    return TakeDeposit(guest=start.guest)


booking = Saga(
    "booking",
    start=BookTable,
    key=lambda start: start.guest,
    steps=(Publish(table_wanted, early=True, retraction=table_not_wanted), Pivot(take_deposit, to="till")),
)
till, kitchen = Service("till"), Service("kitchen")
told = asyncio.Queue[str]()


@till.handles(TakeDeposit)
async def charge(command: TakeDeposit) -> Done:
    """Says yes or no, and takes its time: the kitchen has begun by then."""
    await asyncio.sleep(0.2)
    if command.guest == "Sisyphus":
        raise Refused("card_declined")
    return Done()


@kitchen.on(TableWanted)
async def plan_dinner(fact: TableWanted, db: MemoryTransaction) -> None:
    """The reaction, in one transaction with the note that it has happened."""
    await db.put(fact.guest, "dinner")
    told.put_nowait(f"dinner for {fact.guest}")


@kitchen.on(TableNotWanted, undoes=TableWanted)
async def drop_dinner(fact: TableNotWanted, db: MemoryTransaction) -> None:
    """Called only where there is something to undo, and once."""
    await db.delete(fact.guest)
    told.put_nowait(f"no dinner for {fact.guest}")


app = App("inn", sagas=[booking], services=[till, kitchen])


async def main() -> None:
    """A guest who pays, and one who does not."""
    async with running(app, Addresses("memory://", "memory://", "memory://")) as client:
        for guest, changes in (("Penelope", 1), ("Sisyphus", 2)):
            outcome = await client.run(booking, BookTable(guest=guest))
            print(f"{guest}: {outcome.status}")
            for _ in range(changes):
                print("kitchen:", await told.get())


if __name__ == "__main__":
    asyncio.run(main())
