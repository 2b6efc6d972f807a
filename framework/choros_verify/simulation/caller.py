"""The client of a simulated world: starts sagas until each is accepted, and does what people ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from choros.app.app import App
from choros.errors import ChorosError, StoreUnreachable
from choros.messages import Message, Reply
from choros.runtime.client.client import Client
from choros.saga.machine.instance import ROOT, TERMINAL, UNTOUCHED
from choros.saga.saga import Saga
from choros.store.sagas import Record
from choros.transport.port import Transport
from choros_verify.simulation.script import PersonAct, RunPlan
from choros_verify.simulation.stores import SimStore

AGAIN_AFTER = 1.0
LOOK_EVERY = 20.0


@dataclass
class Wishes:
    """What is to be started, and what people want."""

    app: App
    plan: RunPlan
    starts: Sequence[tuple[Saga[Any], Message]]
    saga_ids: Sequence[str]
    keys: Sequence[str]
    records: Callable[[], Mapping[str, Record]]
    """What is in the store right now."""
    note: Callable[[str], None]
    example: Callable[[type[Reply]], Reply]
    """The reply that a person goes on with who skips a step."""

    def start(self, index: int) -> tuple[Saga[Any], Message]:
        """The saga of this number, and its start message."""
        return self.starts[index % len(self.starts)]


@dataclass
class Caller:
    """Whoever uses the application; what it has written down here outlives its process."""

    wishes: Wishes
    accepted: set[int] = field(default_factory=set)
    """Sagas whose start returned: from then on they must end."""
    skipped: set[tuple[str, str]] = field(default_factory=set)
    """(saga id, step) that a person has taken over."""
    refused: list[str] = field(default_factory=list)
    """Starts that were answered with an error other than that nobody could be reached."""
    acted: set[PersonAct] = field(default_factory=set)

    @property
    def _loses(self) -> bool:
        return any(fault.kind == "lose" for fault in self.wishes.plan.faults)

    @property
    def done(self) -> bool:
        """Whether every start was accepted, and every act done."""
        plan = self.wishes.plan
        started = len(self.accepted) + len(self.refused) == len(plan.starts) and len(self.acted) == len(plan.acts)
        return started and not (self._loses and self._forgotten())

    def _forgotten(self) -> list[int]:
        records = self.wishes.records()
        return [index for index in sorted(self.accepted) if self.wishes.saga_ids[index] not in records]

    async def run(self, transport: Transport, store: SimStore) -> None:
        """One life of the client."""
        await transport.connect()
        await store.open()
        plan, loop = self.wishes.plan, asyncio.get_running_loop()
        async with Client(self.wishes.app, store=store, transport=transport, timeout=timedelta(seconds=30)) as client:
            todo: list[tuple[float, int, Callable[[], Awaitable[None]]]] = []
            todo += [(at, i, self._starting(client, i)) for i, at in enumerate(plan.starts) if i not in self.accepted]
            todo += [(act.at, 0, self._acting(client, act)) for act in plan.acts if act not in self.acted]
            for at, _, doing in sorted(todo, key=lambda each: each[:2]):
                await asyncio.sleep(max(0.0, at - loop.time()))
                await doing()
            while self._loses:  # what a store has forgotten is asked for again
                await asyncio.sleep(LOOK_EVERY)
                for index in self._forgotten():
                    await self._start(client, index)

    def _starting(self, client: Client, index: int) -> Callable[[], Awaitable[None]]:
        return lambda: self._start(client, index)

    async def _start(self, client: Client, index: int) -> None:
        saga, message = self.wishes.start(index)
        while True:
            try:
                await client.start(saga, message, key=self.wishes.keys[index])
            except StoreUnreachable:
                await asyncio.sleep(AGAIN_AFTER)
            except ChorosError as error:
                self.refused.append(f"start of saga {index}: {error.sentence}")
                return
            else:
                self.accepted.add(index)
                return

    def _acting(self, client: Client, act: PersonAct) -> Callable[[], Awaitable[None]]:
        return lambda: self._act(client, act)

    async def _act(self, anybody: Client, act: PersonAct) -> None:
        client = anybody.signed("desk", f"the simulation wants it: {act.verb}")
        saga_id = self.wishes.saga_ids[act.saga]
        try:
            if act.verb in ("retry", "skip"):
                await self._at_the_desk(client, act, saga_id)
            else:
                answer = await getattr(client, act.verb)(saga_id)
                self.wishes.note(f"client: {act}: {answer}")
        except ChorosError as error:
            self.wishes.note(f"client: {act}: {error.sentence}")
        self.acted.add(act)

    async def _at_the_desk(self, client: Client, act: PersonAct, saga_id: str) -> None:
        """A person looks where the saga is parked, and does something about it."""
        while (instance := (await client.show(saga_id)).instance).status not in TERMINAL:
            path, state = next(iter(instance.parked_at.items()), (ROOT, UNTOUCHED))
            if path == ROOT:
                await asyncio.sleep(LOOK_EVERY)
                continue
            if act.verb == "retry":
                answer = await client.retry(saga_id, path, state.round)
            else:
                self.skipped.add((saga_id, path))
                reply = self.wishes.example((await client.skippable(saga_id, path)).reply)
                answer = await client.skip(saga_id, path, reply, state.round)
            self.wishes.note(f"client: {act.verb} {path} of saga {act.saga}: {answer}")
            return
