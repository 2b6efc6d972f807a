"""A campaign: everything started, the load on, the nemesis let loose, everything healed, drained, stopped, judged."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from choros import ChorosError
from choros.roles.addresses import opened_store
from choros.saga.machine.instance import Instance
from choros.store.sagas import Store
from tests.chaos import outings, rooms
from tests.chaos.administrator import APP, Administrator, Refused
from tests.chaos.battlefield import POSTGRES, STORE, Battlefield, Single, in_thread, url_of
from tests.chaos.checker import Verdict, Violation, Word, judge
from tests.chaos.crew import LOAD, Crew
from tests.chaos.faults import LOSES_FACTS, WITH_PERMISSIONS, WITH_POSTGRES, Scene
from tests.chaos.ledgers import Dossier, read_dossiers, twice_answered
from tests.chaos.load import FINISH
from tests.chaos.nemesis import Nemesis
from tests.chaos.rooms import Room
from tests.chaos.strangers import Account, account, look
from tests.chaos.voyages import app, souvenir
from tests.chaos.wire import Wire

ROOMS = {"rabbit": 1024, STORE: 1024, "services": 384, POSTGRES: 1024}
"""Name of the server and MiB."""
EACH_ONCE_MINUTES = 3.0
"""A campaign of this length or longer does every kind of fault at least once, even if that takes longer."""
_DRAIN_SECONDS = 300.0


@dataclass(frozen=True)
class Plan:
    """How long, how hard."""

    minutes: float
    seed: int
    rate: float = 60.0
    in_flight: int = 400
    small_every: float = 2.5
    big_every: float = 8.0
    pace: float = 1.0
    postgres: bool = False
    """Whether the sagas are in PostgreSQL."""
    flows: bool = False
    """Whether a flow that nobody orchestrates is beside the sagas."""
    permits: bool = False
    """Each role with what `choros topology permissions` prints for it, and nothing else."""


@dataclass
class Result:
    """What a campaign leaves."""

    plan: Plan
    folder: Path
    seconds: float
    drain_seconds: float
    nemesis: Nemesis
    crew: Crew
    verdict: Verdict
    dossiers: dict[int, Dossier]
    versions: Mapping[str, str]
    depths: Mapping[str, int]
    stops: Mapping[str, float]
    drained: bool
    strangers: Account
    frames: Mapping[str, int]
    histories: dict[int, list[str]] = field(default_factory=dict)


def make_rooms(folder: Path) -> dict[str, Room]:
    """The small file systems, as far as this machine allows them."""
    if not rooms.enter_own_namespace():
        return {}
    made = {name: rooms.mount(folder / name, size) for name, size in ROOMS.items()}
    return {name: room for name, room in made.items() if room is not None}


class Campaign:
    """Runs one. `make_field` chooses where: one node, or a cluster."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        say: Callable[[str], None],
        make_field: Callable[[Path, Mapping[str, Room]], Battlefield] = Single,
    ) -> None:
        self.plan, self.folder, self._say = plan, folder, say
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self._rooms = make_rooms(folder)
        self._field = make_field(folder, self._rooms)
        self._services = self._rooms["services"].path if "services" in self._rooms else folder / "services"
        self._services.mkdir(exist_ok=True)
        self._wire = Wire(folder)
        load = (str(folder), str(plan.seed), str(plan.rate), str(plan.in_flight))
        self.administrator = Administrator(self._field, folder, permits=plan.permits)
        self.crew = Crew(folder, self._services, self._field, self.administrator, self._wire, load, plan.flows)
        dice = random.Random(plan.seed)
        scene = Scene(self._field, self.crew, self.administrator, self._wire, dice, plan.pace)
        self.nemesis = Nemesis(scene, folder / "nemesis.jsonl", plan.small_every, plan.big_every, say)
        self.nemesis.extra = {**(WITH_PERMISSIONS if plan.permits else {}), **(WITH_POSTGRES if plan.postgres else {})}
        self.nemesis.each_once = plan.minutes >= EACH_ONCE_MINUTES

    async def run(self) -> Result:
        """All of it."""
        try:
            self._field.open()
            versions = self._field.versions()
            await self._wire.open()
            await self.administrator.open()
            await self.crew.open()
            return await self._run(versions)
        finally:
            await self.crew.close()
            await self._wire.close()
            await in_thread(self._field.close)
            self._keep_books()

    async def _run(self, versions: Mapping[str, str]) -> Result:
        began = time.monotonic()
        await asyncio.sleep(3)  # something to hurt
        who = "each role under its least permissions" if self.plan.permits else "each role may do everything"
        self._say(f"chaos for {self.plan.minutes:g} minutes, seed {self.plan.seed}, {who}, in {self.folder}")
        if self.nemesis.impossible:
            self._say(f"  cannot be done here, so not counted: {', '.join(self.nemesis.impossible)} (no mounting)")
        ticking = asyncio.create_task(self._tick())
        await self.nemesis.run(self.plan.minutes * 60 - 3)
        self._say("  the nemesis rests; everything is healed")
        await self._heal()
        await self.crew.finish(LOAD, FINISH)
        seconds = time.monotonic() - began
        drained, drain_seconds = await self._drain()
        republished = drained and await self._republish()
        ticking.cancel()
        depths, frames = self._field.depths(), await self._wire.frames()
        stops = await self.crew.close()
        strangers = await self._strangers(depths)
        verdict, dossiers, histories = await self._judge(republished)
        return Result(
            self.plan, self.folder, seconds, drain_seconds, self.nemesis, self.crew, verdict, dossiers, versions,
            depths, stops, drained, strangers, frames, histories,
        )  # fmt: skip

    async def _heal(self) -> None:
        await self._wire.set("*", "pass")
        for room in self._rooms.values():
            room.clear()
        for server in (*self._field.nodes, *self._field.stores):
            await in_thread(self._field.start, server)

    async def _drain(self) -> tuple[bool, float]:
        """Wait until nothing moves any more; whether that happened, and how long it took."""
        began = time.monotonic()
        while (waited := time.monotonic() - began) < _DRAIN_SECONDS:
            if await self._still():
                return True, waited
            await asyncio.sleep(1)
        return False, time.monotonic() - began

    async def _still(self) -> bool:
        try:
            counts = await self._counts()
            if self.crew.members[LOAD].wanted or counts["running"] + counts["compensating"] or await self._owing():
                return False
            depths = await asyncio.to_thread(self._field.depths)
        except Exception as error:  # a server that comes back late
            self._say(f"  not drained yet: {error!r}")
            return False
        return not any(count for queue, count in depths.items() if not queue.endswith(".dead"))

    async def _owing(self) -> bool:
        """Whether a fact has not left yet: one that was not confirmed is published again only after a while."""
        if self.plan.flows and await outings.owing(self._databases):
            return True
        async with opened_store(self.administrator.addresses, app) as store:
            return bool(await store.unsent("facts", time.time() + 3600, 1))

    async def _republish(self) -> bool:
        """Put the facts out again that were lost with their queues; whether none may be missing from now on."""
        if not self._lossy:
            return True
        again = ("facts", "republish")
        try:  # by a role that may hardly do anything, if there are such
            for service, address in self._databases.items():
                whose = ("--of", service, "--database", address)
                said = await self.administrator.choros(*again, outings.APP, "--since", "1d", *whose)
                self._say(f"  choros facts republish --of {service}: {said.strip()[-500:]}")
            said = await self.administrator.choros(*again, APP, "--since", "1d", role="client")
        except Refused as refusal:
            self._say(f"  {refusal}")
            return False
        self._say(f"  choros facts republish: {said.strip()[-500:]}")
        return (await self._drain())[0]

    @property
    def _databases(self) -> Mapping[str, str]:
        """Of those who take part in the flow, by their names."""
        return outings.databases(self._services, self._redis) if self.plan.flows else {}

    @property
    def _redis(self) -> str:
        return url_of(STORE, *self._field.address(STORE))

    @property
    def _lossy(self) -> list[tuple[float, float]]:
        return [(one.at, one.until) for one in self.nemesis.done if one.kind in LOSES_FACTS]

    async def _counts(self) -> Counter[str]:
        """Sagas of all kinds, by status."""
        found: Counter[str] = Counter()
        async with opened_store(self.administrator.addresses, app) as store:
            for (_, status), count in (await store.counts()).items():
                found[status] += count
        return found

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(15)
            try:
                async with asyncio.timeout(5):
                    counts = await self._counts()
            except (ChorosError, TimeoutError):
                continue
            shown = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
            self._say(f"  {time.strftime('%H:%M:%S')} {shown}; {len(self.nemesis.done)} faults")

    async def _judge(self, republished: bool) -> tuple[Verdict, dict[int, Dossier], dict[int, list[str]]]:
        dossiers = await read_dossiers(self.folder, self._services, self._redis, self.plan.seed)
        async with opened_store(self.administrator.addresses, app) as store:
            words = await read_words(store)
            verdict = judge(dossiers, words, self._lossy, republished)
            otherwise = ((line.split(), line) for line in twice_answered(self.folder))
            verdict.violations += [Violation("unexpected", int(words_[1]), line) for words_, line in otherwise]
            verdict.violations += await self._judge_outings(dossiers, verdict) if self.plan.flows else []
            guilty = sorted({one.number for one in verdict.violations})[:20]
            histories = {number: await _history(store, words[number].saga_id) for number in guilty if number in words}
        return verdict, dossiers, histories

    async def _judge_outings(self, dossiers: dict[int, Dossier], verdict: Verdict) -> list[Violation]:
        found = await outings.read_outings(self._services, self._redis)
        verdict.outings = len(found)
        return [Violation(*one) for one in outings.judge_outings(found, dossiers.values())]

    async def _strangers(self, depths: Mapping[str, int]) -> Account:
        parked = await look(self.administrator.addresses.broker, depths)
        return account(self.nemesis.scene.thrown, parked, self._lossy)

    def _keep_books(self) -> None:
        """What lies in a room goes with it; the services' books stay."""
        if "services" in self._rooms:
            shutil.copytree(self._services, self.folder / "books", dirs_exist_ok=True)
        for name, room in self._rooms.items():
            for log in room.path.glob("server.log"):
                shutil.copy(log, self.folder / "logs" / f"server-{name}.log")
            rooms.unmount(room)


async def read_words(store: Store) -> dict[int, Word]:
    """What the store says, by voyage."""
    words: dict[int, Word] = {}
    cursor = ""
    while True:
        page = await store.find(limit=500, cursor=cursor)
        for record in page.records:
            if record.saga == souvenir.name:
                continue
            instance = Instance.loads(record.state)
            words[int(record.key.rpartition("-")[2])] = Word(record.saga_id, instance.status, instance.why_parked)
        if not (cursor := page.cursor):
            return words


async def _history(store: Store, saga_id: str) -> list[str]:
    return [f"{row.at:.3f} v{row.version} {row.events}" for row in await store.history(saga_id)]
