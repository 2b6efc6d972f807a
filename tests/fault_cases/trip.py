"""A small application to hurt: pay, pack at a provider, ship (the pivot), two facts. What it does is set from outside,
so that the same can be built in a test and in the processes that a test starts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from choros import Addresses, App, Call, Pivot, Refused, RetryPolicy, Saga, Service, SqliteTransaction, Step
from choros.messages import Command, Fact, Failure, Message, Reply

SERVICES = ("till", "packer", "van")
TOO_DEAR = "palace"
"""What nobody can pay."""
ENTRIES = "CREATE TABLE IF NOT EXISTS entry (trip TEXT, what TEXT)"


@dataclass(frozen=True)
class Trip:
    """Where everything is, and how the application behaves. Seconds."""

    namespace: str
    folder: str
    broker: str
    store: str
    timeout: float = 3.0
    give_up: float = 60.0
    undo_give_up: float = 60.0
    undo_max: float = 0.5
    """The longest time between two tries of an undo."""
    versions: tuple[int, ...] = (1,)
    back_failures: int = 0
    """So many tries to pay back fail, in each process."""
    provider_dies: bool = False
    """The first process that calls the provider is killed once the provider has done it."""
    held: bool = False
    """Whoever pays waits until the file `gate` is there."""
    blocks: float = 0.0
    """The first payment blocks the event loop for so long."""
    slow: float = 0.0
    """A payment takes so long."""
    tours: bool = False
    """Whether there is the saga of `tour.py` as well."""

    def dumps(self) -> str:
        """For the environment of a process."""
        return json.dumps(asdict(self))

    @staticmethod
    def loads(text: str) -> Trip:
        """What `dumps` wrote."""
        fields = json.loads(text)
        return Trip(**fields | {"versions": tuple(fields["versions"])})

    @property
    def addresses(self) -> Addresses:
        """For the roles."""
        return Addresses(self.broker, self.store, f"sqlite:///{self.folder}/{{service}}.db")

    @property
    def gate(self) -> Path:
        """See `held`."""
        return Path(self.folder) / "gate"


# --- messages ---------------------------------------------------------------------------------------------------------


class Plan(Message):
    trip: str
    refuse: bool = False


class Paid(Reply):
    key: str


class Pay(Command[Paid], refusals=("no_cover",)):
    trip: str


class PaidBack(Reply):
    key: str


class PayBack(Command[PaidBack]):
    trip: str


class Packed(Reply):
    key: str


class Pack(Command[Packed]):
    trip: str


class Unpacked(Reply):
    key: str


class Unpack(Command[Unpacked]):
    trip: str


class Shipped(Reply):
    key: str


class Ship(Command[Shipped], refusals=("no_van",)):
    trip: str
    refuse: bool
    road: int


class TripStarted(Fact):
    trip: str


class TripPaid(Fact):
    trip: str


class TripOff(Fact):
    trip: str


# --- the saga ---------------------------------------------------------------------------------------------------------


def pay(plan: Plan) -> Pay:
    return Pay(trip=plan.trip)


def pay_back(plan: Plan) -> PayBack:
    return PayBack(trip=plan.trip)


def pack(plan: Plan) -> Pack:
    return Pack(trip=plan.trip)


def unpack(plan: Plan) -> Unpack:
    return Unpack(trip=plan.trip)


def ship(plan: Plan) -> Ship:
    return Ship(trip=plan.trip, refuse=plan.refuse, road=1)


def ship_by_new_road(plan: Plan) -> Ship:
    return Ship(trip=plan.trip, refuse=plan.refuse, road=2)


def trip_started(plan: Plan) -> TripStarted:
    return TripStarted(trip=plan.trip)


def trip_paid(plan: Plan) -> TripPaid:
    return TripPaid(trip=plan.trip)


def trip_off(plan: Plan, failure: Failure) -> TripOff:
    return TripOff(trip=plan.trip)


def trip_saga(trip: Trip, version: int) -> Saga[Plan]:
    """The saga in one of its versions, which take different roads."""

    def policy(total: float, most: float = 0.5) -> RetryPolicy:
        longest = timedelta(seconds=most)
        return RetryPolicy(initial=timedelta(milliseconds=20), max=longest, factor=1.5, total=timedelta(seconds=total))

    timeout, undo_retry = timedelta(seconds=trip.timeout), policy(trip.undo_give_up, trip.undo_max)
    first = Step(
        pay, to="till", compensation=pay_back, timeout=timeout, retry=policy(trip.give_up), undo_retry=undo_retry
    )
    second = Step(pack, to="packer", compensation=unpack, timeout=timeout, undo_retry=undo_retry)
    road = {1: ship, 2: ship_by_new_road}[version]
    last = Pivot(road, to="van", timeout=timeout, retry=policy(3600), name="ship")
    return Saga(
        "trip", version=version, start=Plan, key=lambda plan: plan.trip, steps=(first, second, last),
        completed=(trip_started, trip_paid), compensated=trip_off,
    )  # fmt: skip


# --- the services -----------------------------------------------------------------------------------------------------


def make_app(trip: Trip) -> App:
    """The application with all its services and their handlers."""
    from tests.fault_cases.tour import tour_saga  # which is made of what stands here

    services = (_till(trip), _packer(trip), _van(), _diary("diary"), _diary("log-book"))
    sagas = [*(trip_saga(trip, v) for v in trip.versions), *([tour_saga] if trip.tours else [])]
    return App(trip.namespace, name="app", sagas=sagas, services=services)


async def _prepare(db: SqliteTransaction) -> None:
    await db.execute(ENTRIES)


async def _enter(db: SqliteTransaction, trip: str, what: str) -> None:
    await db.execute("INSERT INTO entry VALUES (?, ?)", (trip, what))


def _till(trip: Trip) -> Service:
    service, failures = Service("till"), [trip.back_failures]
    service.prepares(_prepare)

    @service.handles(Pay)
    async def take(command: Pay, db: SqliteTransaction, call: Call) -> Paid:
        await _enter(db, command.trip, "paid")
        if trip.blocks and _first(Path(trip.folder) / "blocked"):
            time.sleep(trip.blocks)  # noqa: ASYNC251  # the mistake that this is about
        await asyncio.sleep(trip.slow)
        while trip.held and not trip.gate.exists():
            await asyncio.sleep(0.02)
        if command.trip.endswith(TOO_DEAR):
            raise Refused("no_cover")
        return Paid(key=call.key)

    @service.handles(PayBack)
    async def give(command: PayBack, db: SqliteTransaction, call: Call) -> PaidBack:
        if failures[0]:
            failures[0] -= 1
            raise ConnectionError("the till is stuck")
        await _enter(db, command.trip, "paid back")
        return PaidBack(key=call.key)

    return service


def _first(mark: Path) -> bool:
    """Whether nobody was here before, in any process."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _packer(trip: Trip) -> Service:
    """Its effect is at a provider, who has a ledger of its own and does each key once."""
    service, ledger = Service("packer"), Path(trip.folder) / "provider.db"

    def provide(of: str, key: str, what: str) -> None:
        with closing(sqlite3.connect(ledger, timeout=30, isolation_level=None)) as file:
            file.execute("CREATE TABLE IF NOT EXISTS entry (trip TEXT, what TEXT, key TEXT UNIQUE)")
            file.execute("CREATE TABLE IF NOT EXISTS asked (key TEXT)")
            file.execute("INSERT INTO asked VALUES (?)", (key,))
            file.execute("INSERT OR IGNORE INTO entry VALUES (?, ?, ?)", (of, what, key))
        if trip.provider_dies and _first(Path(trip.folder) / "died"):
            os.kill(os.getpid(), signal.SIGKILL)

    @service.provider(Pack)
    async def do(command: Pack, call: Call) -> Packed:
        provide(command.trip, call.key, "packed")
        return Packed(key=call.key)

    @service.provider(Unpack)
    async def undo(command: Unpack, call: Call) -> Unpacked:
        provide(command.trip, call.key, "unpacked")
        return Unpacked(key=call.key)

    return service


def _van() -> Service:
    service = Service("van")
    service.prepares(_prepare)

    @service.handles(Ship)
    async def drive(command: Ship, db: SqliteTransaction, call: Call) -> Shipped:
        await _enter(db, command.trip, f"shipped by road {command.road}")
        if command.refuse:
            raise Refused("no_van")
        return Shipped(key=call.key)

    return service


def _diary(name: str) -> Service:
    service = Service(name)
    service.prepares(_prepare)

    @service.on(TripStarted, TripPaid, TripOff)
    async def note(fact: TripStarted | TripPaid | TripOff, db: SqliteTransaction) -> None:
        await _enter(db, fact.trip, type(fact).__name__)

    return service
