"""A local undo log: a service takes its own half-done work back, and says so.

A warehouse takes an order's lines one by one from its shelves. Where one is not there, it puts back what it has already
taken and refuses. Its book shows both movements: rolled back, it would show none.
"""

import asyncio

from choros import App, Command, Done, LocalUndo, Message, Refused, Saga, Service, SqliteTransaction, Step, running


class Order(Message):
    """What the saga starts with."""

    number: str
    lines: tuple[str, ...]


class Pick(Command[Done], refusals=("not_there",)):
    """An order to the warehouse."""

    number: str
    lines: tuple[str, ...]


class PutBack(Command[Done]):
    """Undoes it, where a later step is refused: the saga's undo, which is another thing."""

    number: str


def pick(start: Order) -> Pick:
    """The only step."""
    return Pick(number=start.number, lines=start.lines)


def put_back(start: Order) -> PutBack:
    """Undoes it."""
    return PutBack(number=start.number)


taking = Step(pick, to="warehouse", compensation=put_back)
delivery = Saga("delivery", start=Order, key=lambda start: start.number, steps=(taking,))
warehouse = Service("warehouse")


@warehouse.prepares
async def begin_the_book(db: SqliteTransaction) -> None:
    """Its first page: what is on the shelves."""
    await db.execute("CREATE TABLE IF NOT EXISTS book (article TEXT, change INTEGER)")
    for article in ("apples", "pears"):
        await move(db, article, +2)


async def move(db: SqliteTransaction, article: str, change: int) -> None:
    """One line in the book, which an auditor will read."""
    await db.execute("INSERT INTO book VALUES (?, ?)", (article, change))


@warehouse.handles(Pick)
async def pick_lines(command: Pick, db: SqliteTransaction, undo: LocalUndo) -> Done:
    """After each line it notes how that is taken back; what was noted is called only where it refuses."""
    book = await db.fetch("SELECT article, change FROM book")
    print(f"{command.number}: the book says", ", ".join(f"{article} {change:+}" for article, change in book))
    for article in command.lines:
        (left,) = await db.fetchone("SELECT sum(change) FROM book WHERE article = ?", (article,)) or (0,)
        if not left:
            raise Refused("not_there", article)
        await move(db, article, -1)
        undo.add(f"put {article} back", move, db, article, +1)
    return Done()


@warehouse.handles(PutBack)
async def put_lines_back(command: PutBack, db: SqliteTransaction) -> Done:
    """Never called here: what the warehouse has refused, it has already taken back itself."""
    print(f"{command.number}: undone by the saga")
    return Done()


app = App("orchard", sagas=[delivery], services=[warehouse])


async def main() -> None:
    """The second order is not all there."""
    async with running(app) as client:
        orders = {"o1": ("apples", "pears"), "o2": ("apples", "pears", "quinces"), "o3": ("apples",)}
        for number, lines in orders.items():
            outcome = await client.run(delivery, Order(number=number, lines=lines))
            print(f"{number}: {outcome.status}")


if __name__ == "__main__":
    asyncio.run(main())
