"""A ticket that nobody orchestrates, to be simulated: two services side by side, one that waits for both of them, a
closer that decides for a bad end before what was done is undone, and one that only listens."""

from __future__ import annotations

from choros import App, Choreography, Fact, MemoryTransaction, Refused, Service, all_of


class About(Fact):
    ticket: str


class Wanted(About): ...


class Paid(About): ...


class CardDeclined(About): ...


class PaidBack(About): ...


class SeatTaken(About): ...


class HouseFull(About): ...


class SeatFree(About): ...


class Printed(About): ...


class PaperJam(About): ...


class Failing(About): ...


class Sold(About): ...


class Failed(About): ...


money, house, printer, office = Service("money"), Service("house"), Service("printer"), Service("office")
mails = Service("mails")


async def move(db: MemoryTransaction, ticket: str, by: int) -> None:
    await db.put(ticket, await db.get(ticket, 0) + by)


@money.on(Wanted, effect="pay", publishes=(Paid, CardDeclined))
async def pay(wanted: Wanted, db: MemoryTransaction) -> Paid:
    await move(db, wanted.ticket, 1)
    return Paid(ticket=wanted.ticket)


@money.on(Failing, undoes="pay", publishes=PaidBack)
async def pay_back(failing: Failing, db: MemoryTransaction) -> PaidBack:
    return PaidBack(ticket=failing.ticket)


def house_full(wanted: Wanted) -> HouseFull:
    return HouseFull(ticket=wanted.ticket)


@house.on(Wanted, publishes=(SeatTaken, HouseFull), gives_up=house_full)
async def take_seat(wanted: Wanted, db: MemoryTransaction) -> SeatTaken:
    await move(db, wanted.ticket, 1)
    return SeatTaken(ticket=wanted.ticket)


@house.on(Failing, undoes=Wanted, publishes=SeatFree)
async def free_seat(failing: Failing, db: MemoryTransaction) -> SeatFree:
    return SeatFree(ticket=failing.ticket)


@printer.on(all_of(Paid, SeatTaken), publishes=(Printed, PaperJam))
async def print_it(paid: Paid, taken: SeatTaken, db: MemoryTransaction) -> Printed:
    assert paid.ticket == taken.ticket
    await move(db, paid.ticket, 1)
    return Printed(ticket=paid.ticket)


@printer.on(Failing, undoes=all_of(Paid, SeatTaken))
async def shred(failing: Failing, db: MemoryTransaction) -> None:
    await move(db, failing.ticket, -1)


@office.on(CardDeclined, HouseFull, PaperJam, publishes=Failing)
async def turn(no: CardDeclined | HouseFull | PaperJam, db: MemoryTransaction) -> Failing:
    return Failing(ticket=no.ticket)


@office.on(Printed, publishes=Sold)
async def sell(printed: Printed, db: MemoryTransaction) -> Sold:
    return Sold(ticket=printed.ticket)


@office.on(all_of(PaidBack, SeatFree), publishes=Failed)
async def fail(back: PaidBack, free: SeatFree, db: MemoryTransaction) -> Failed:
    if back.ticket != free.ticket:
        raise Refused("mixed")
    return Failed(ticket=back.ticket)


@mails.on(Sold, Failed)
async def tell(end: Sold | Failed, db: MemoryTransaction) -> None:
    await move(db, end.ticket, 1)


flow = Choreography(
    "ticket", start=Wanted, key=lambda wanted: wanted.ticket, good=Sold, bad=Failed, turns=Failing, closer="office",
    services=(money, house, printer, office),
)  # fmt: skip
app = App("box", services=[money, house, printer, office, mails], choreographies=[flow])
SERVICES = ("money", "house", "printer", "office", "mails")
