"""A flow under chaos, which nobody orchestrates: each twentieth voyage that is done has the club plan an outing. The
kitchen packs a lunch and a guide is found, side by side; where one of them says no, both are taken back.

`club` and `kitchen` keep their books on SQLite, `guides` in Redis; each is run as `choros run tests.chaos.outings:app
--role subscriber:club`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from choros import Addresses, App, Call, Choreography, Fact, Refused, Service, SqliteTransaction, all_of
from choros.roles.addresses import opened_database
from choros.store.barrier import LEAVING
from choros.store.redis.barrier import RedisTransaction
from tests.chaos import books
from tests.chaos.ledgers import Dossier, Entry, read_redis, read_sqlite
from tests.chaos.voyages import NAMESPACE, VoyageDone

EVERY = 20
"""An outing for each voyage of such a number."""
LEADER = "leader"
"""What a guide is called in the book: one with that name is part of a cruise."""
NO_LUNCH, NO_GUIDE, STUMBLES = 1, 2, 3
"""What becomes of one, by its place among six; of the others all goes well."""


class About(Fact):
    """Each names the voyage."""

    number: int


class OutingWanted(About):
    """Begins the flow."""


class LunchPacked(About):
    """By the kitchen."""


class LunchRefused(About):
    """By the kitchen, which has packed nothing."""


class LunchUnpacked(About):
    """It is gone, or never was."""


class GuideFound(About):
    """By the guides."""


class GuideRefused(About):
    """By the guides: nobody has time."""


class GuideSentHome(About):
    """Nobody waits any more, or ever did."""


class OutingFailing(About):
    """The club has decided so; what was done is taken back."""


class OutingOn(About):
    """The good end."""


class OutingOff(About):
    """The bad end: nothing is left of it."""


class Stumble(Exception):
    """A failure that passes."""


_tried: set[tuple[str, int]] = set()


def _stumble(who: str, number: int) -> None:
    """Each process fails once."""
    if number // EVERY % 6 == STUMBLES and (who, number) not in _tried:
        _tried.add((who, number))
        raise Stumble


club, kitchen, guides = Service("club"), Service("kitchen"), Service("guides")
for _service in (club, kitchen):
    _service.prepares(books.prepare)


@club.on(VoyageDone, publishes=OutingWanted)
async def plan(done: VoyageDone, db: SqliteTransaction, call: Call) -> OutingWanted | None:
    if done.number % EVERY:
        return None
    await books.enter(db, done.number, "plan", "do", call)
    return OutingWanted(number=done.number)


@kitchen.on(OutingWanted, effect="lunch", publishes=(LunchPacked, LunchRefused))
async def pack(wanted: OutingWanted, db: SqliteTransaction, call: Call) -> LunchPacked:
    await books.enter(db, wanted.number, "lunch", "do", call)
    _stumble("kitchen", wanted.number)  # after the effect, which must then be rolled back
    if wanted.number // EVERY % 6 == NO_LUNCH:
        raise Refused("no bread", fact=LunchRefused(number=wanted.number))
    return LunchPacked(number=wanted.number)


@kitchen.on(OutingFailing, undoes="lunch", publishes=LunchUnpacked)
async def unpack(failing: OutingFailing, db: SqliteTransaction, call: Call) -> LunchUnpacked:
    if call.stands:
        await books.enter(db, failing.number, "lunch", "undo", call)
    return LunchUnpacked(number=failing.number)


@guides.on(OutingWanted, effect="guide", publishes=(GuideFound, GuideRefused))
async def find(wanted: OutingWanted, db: RedisTransaction, call: Call) -> GuideFound:
    _stumble("guides", wanted.number)
    if wanted.number // EVERY % 6 == NO_GUIDE:
        raise Refused("no time", fact=GuideRefused(number=wanted.number))
    await books.enter_in_redis(db, "guides", wanted.number, LEADER, "do", call)
    return GuideFound(number=wanted.number)


@guides.on(OutingFailing, undoes="guide", publishes=GuideSentHome)
async def send_home(failing: OutingFailing, db: RedisTransaction, call: Call) -> GuideSentHome:
    if call.stands:
        await books.enter_in_redis(db, "guides", failing.number, LEADER, "undo", call)
    return GuideSentHome(number=failing.number)


@club.on(all_of(LunchPacked, GuideFound), publishes=OutingOn)
async def go(lunch: LunchPacked, guide: GuideFound, db: SqliteTransaction, call: Call) -> OutingOn:
    await books.enter(db, lunch.number, "on", "do", call)
    return OutingOn(number=lunch.number)


@club.on(LunchRefused, GuideRefused, publishes=OutingFailing)
async def give_up(no: LunchRefused | GuideRefused, db: SqliteTransaction, call: Call) -> OutingFailing:
    await books.enter(db, no.number, "turn", "do", call)
    return OutingFailing(number=no.number)


@club.on(all_of(LunchUnpacked, GuideSentHome), publishes=OutingOff)
async def stay(lunch: LunchUnpacked, guide: GuideSentHome, db: SqliteTransaction, call: Call) -> OutingOff:
    await books.enter(db, lunch.number, "off", "do", call)
    return OutingOff(number=lunch.number)


outing = Choreography(
    "outing",
    start=OutingWanted,
    key=lambda wanted: wanted.number,
    good=OutingOn,
    turns=OutingFailing,
    bad=OutingOff,
    closer="club",
    services=(club, kitchen, guides),
)
app = App(NAMESPACE, name="outings", services=(club, kitchen, guides), choreographies=(outing,))
APP = "tests.chaos.outings:app"
SERVICES = ("club", "kitchen", "guides")


def databases(services: Path, redis: str) -> Mapping[str, str]:
    """By service, the address of what it keeps its rows and books in."""
    return {"club": f"sqlite:///{services}/club.db", "kitchen": f"sqlite:///{services}/kitchen.db", "guides": redis}


async def owing(addresses: Mapping[str, str]) -> bool:
    """Whether one of them has published something that no broker has confirmed."""
    for name, address in addresses.items():
        async with opened_database(Addresses(database=address), app, app.service(name)) as database:
            if any([await database.listed(state, 1) for state in LEAVING]):
                return True
    return False


async def read_outings(services: Path, redis: str) -> dict[int, list[Entry]]:
    """What the books say, by voyage."""
    found: dict[int, list[Entry]] = {}
    in_files = (one for name in ("club", "kitchen") for one in read_sqlite(services / f"{name}.db", name))
    in_redis = (one for one in await read_redis(redis) if one[1].book == "guides")
    for number, entry in (*in_files, *in_redis):
        found.setdefault(number, []).append(entry)
    return found


def judge_outings(found: Mapping[int, list[Entry]], dossiers: Iterable[Dossier]) -> Iterator[tuple[str, int, str]]:
    """Kind, voyage and sentence of all that must not be. By the books alone."""
    planned = {dossier.number for dossier in dossiers if dossier.sailed and dossier.number % EVERY == 0}
    for number in sorted(planned | found.keys()):
        entries = found.get(number, [])
        for kind, said in _judged(number, Net(entries), planned=number in planned):
            yield kind, number, f"outing: {said}"


class Net:
    """What is left of each step of an outing, and how often it was done."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = [(one.step, one.act) for one in entries]

    def done(self, step: str) -> int:
        """How often it was done."""
        return self._entries.count((step, "do"))

    def left(self, step: str) -> int:
        """How much of it is there."""
        return self.done(step) - self._entries.count((step, "undo"))


def _judged(number: int, net: Net, *, planned: bool) -> Iterator[tuple[str, str]]:
    fails = number // EVERY % 6 in (NO_LUNCH, NO_GUIDE)
    if not planned:
        yield "unexpected", "nothing has begun it"
    if (ends := net.done("on") + net.done("off")) != 1:
        yield ("doubled" if ends else "lost"), f"{ends} ends"
    elif net.done("off" if fails else "on") != 1:
        yield "unexpected", "it came to the other end"
    for step in ("plan", "lunch", LEADER, "turn"):
        if net.done(step) > 1 or net.left(step) < 0:
            yield "doubled", f"{step}: done {net.done(step)} times, left {net.left(step)}"
    for step in ("lunch", LEADER):
        if ends and net.left(step) != (not fails):
            yield ("standing" if fails else "lost"), f"{step} is{' still' if fails else ' not'} there"
