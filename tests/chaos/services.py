"""The services of the voyage, each run as a process of its own: `choros run tests.chaos.services:fares`.

`fares` and `journal` keep their books on SQLite, `cabins` and `gazette` in Redis, `harbour` asks a provider.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from choros import App, Call, Done, Fact, Later, Refused, Service, SqliteTransaction
from choros.store.redis.barrier import RedisTransaction
from tests.chaos import books
from tests.chaos.scripts import CRUISE, EXPEDITION, STUMBLES
from tests.chaos.voyages import (
    NAMESPACE,
    AskPermit,
    BookFare,
    CreditMiles,
    DropPermit,
    FreeCabin,
    HoldCabin,
    Order,
    RefundFare,
    SetSail,
    VoyageDone,
    VoyageHeld,
    VoyageOff,
    token_of,
)

DONE = Done()


class Trouble(Exception):
    """A failure that passes."""


class Hopeless(Exception):
    """A failure that does not pass."""


def _follow(order: Order, call: Call, name: str, refusal: str = "") -> None:
    """What the script wants of this step, before its effect."""
    script = order.script.removeprefix(f"{CRUISE}, ").removeprefix(f"{EXPEDITION}, ")
    if script == f"refuse {name}":
        raise Refused(refusal)
    if script == f"stumble {name}" and call.attempt <= STUMBLES:
        raise Trouble
    if order.script in (f"hopeless {name}", f"stuck {name}"):
        raise Hopeless


# --- fares: SQLite ----------------------------------------------------------------------------------------------------

_fares = Service("fares")
_fares.prepares(books.prepare)


@_fares.handles(BookFare)
async def book_fare(command: BookFare, db: SqliteTransaction, call: Call) -> Done:
    _follow(command, call, command.part or "fare", "no_money")
    await books.enter(db, command.number, command.part or "fare", "do", call)
    return DONE


@_fares.handles(RefundFare)
async def refund_fare(command: RefundFare, db: SqliteTransaction, call: Call) -> Done:
    _follow(command, call, "refund")
    await books.enter(db, command.number, command.part or "fare", "undo", call)
    return DONE


@_fares.handles(CreditMiles)
async def credit_miles(command: CreditMiles, db: SqliteTransaction, call: Call) -> Done:
    await books.enter(db, command.number, command.part or "miles", "do", call)
    _follow(command, call, "miles")  # after the effect, which must then be rolled back
    return DONE


@_fares.handles(AskPermit)
async def ask_permit(command: AskPermit, db: SqliteTransaction) -> Done | Later:
    """It is entered by whoever finishes it."""
    return Later(token_of(command.number))


@_fares.handles(DropPermit)
async def drop_permit(command: DropPermit, db: SqliteTransaction, call: Call) -> Done:
    if not call.token:  # else nobody has given it
        await books.enter(db, command.number, "permit", "undo", call)
    return DONE


# --- cabins: Redis ----------------------------------------------------------------------------------------------------

_cabins = Service("cabins")


@_cabins.handles(HoldCabin)
async def hold_cabin(command: HoldCabin, db: RedisTransaction, call: Call) -> Done:
    if command.script == "slow cabin":
        await asyncio.sleep(1.5)
    await books.enter_in_redis(db, "cabins", command.number, command.part or "cabin", "do", call)
    _follow(command, call, (command.part or "cabin").partition("-")[0], "fully_booked")
    return DONE


@_cabins.handles(FreeCabin)
async def free_cabin(command: FreeCabin, db: RedisTransaction, call: Call) -> Done:
    _follow(command, call, "free")
    await books.enter_in_redis(db, "cabins", command.number, command.part or "cabin", "undo", call)
    return DONE


# --- harbour: a provider ----------------------------------------------------------------------------------------------

_harbour = Service("harbour")
_provider = books.Provider(Path(os.environ.get("CHAOS_PROVIDER", "provider.db")))


async def _sailed(command: SetSail, call: Call) -> Done | None:
    return DONE if await asyncio.to_thread(_provider.knows, call.key) else None


@_harbour.provider(SetSail, ask=_sailed)
async def set_sail(command: SetSail, call: Call) -> Done:
    _follow(command, call, "sail", "storm")
    if command.script in ("stumble refund", "stumble free", "stuck refund", f"{CRUISE}, stumble free"):
        raise Refused("storm")
    await asyncio.to_thread(_provider.carry_out, command.number, "sail", call)
    if command.script == "half sail" and call.attempt == 1:
        raise Trouble
    return DONE


# --- subscribers ------------------------------------------------------------------------------------------------------

_journal = Service("journal")
_journal.prepares(books.prepare)


@_journal.on(VoyageHeld, VoyageDone, VoyageOff)
async def note(fact: VoyageHeld | VoyageDone | VoyageOff, db: SqliteTransaction, call: Call) -> None:
    await books.enter(db, fact.number, _news(fact), "told", call)


_gazette = Service("gazette")


@_gazette.on(VoyageHeld, VoyageDone, VoyageOff)
async def print_news(fact: VoyageHeld | VoyageDone | VoyageOff, db: RedisTransaction, call: Call) -> None:
    await books.enter_in_redis(db, "gazette", fact.number, _news(fact), "told", call)


def _news(fact: Fact) -> str:
    return {VoyageHeld: "held", VoyageDone: "done", VoyageOff: "off"}[type(fact)]


fares, cabins, harbour = (App(NAMESPACE, services=(service,)) for service in (_fares, _cabins, _harbour))
journal, gazette = (App(NAMESPACE, services=(service,)) for service in (_journal, _gazette))
