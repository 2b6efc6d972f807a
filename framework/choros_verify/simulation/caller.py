"""Whoever uses an application of a world: begins its sagas and flows, and does what people and programs do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

from choros.app.app import App
from choros.errors import BrokerUnreachable, ChorosError, StoreMisconfigured, StoreUnreachable
from choros.messages import Message
from choros.runtime.client.client import Client
from choros.saga.machine.instance import ROOT, TERMINAL
from choros.saga.saga import Saga
from choros.transport.port import Transport
from choros.transport.topology import Topology
from choros_verify.simulation.early_answers import EarlyAnswer, ask_early
from choros_verify.simulation.keeping import KeptSagas, opened
from choros_verify.simulation.run_again import LOOK_EVERY, is_there, let_go_on, run_again
from choros_verify.simulation.script import PATIENT, PersonAct, RunPlan
from choros_verify.simulation.staged_flows import StagedFlows
from choros_verify.simulation.telling import speak

AGAIN_AFTER = 1.0
BEGIN_AFTER = 15.0
"""Seconds after which a flow is begun again that could not be, and ever later: it was tried several times by then."""
DROPPED = "it is dropped"
"""What the error says of a start that was never handed to the store."""


class Hosted(Protocol):
    """An application of a world, as whoever uses it knows it."""

    app: App
    plan: RunPlan
    store: KeptSagas
    locks: KeptSagas | None
    saga_ids: list[str]
    flows: StagedFlows
    client: str

    @property
    def keys(self) -> list[str]:
        """The start keys of its sagas."""
        ...

    @property
    def listening(self) -> Topology:
        """What is on the broker before the first flow begins."""
        ...

    def start(self, index: int) -> tuple[Saga[Any], Message]:
        """The saga of this number, and its start message."""
        ...

    def transport(self, process: str) -> Transport:
        """What a process reaches the broker with."""
        ...


@dataclass
class Caller:
    """Whoever uses the application; what it has written down here outlives its process."""

    tenant: Hosted
    """Whose application it uses, and whose plan says what people want."""
    note: Callable[[str], None]
    example: Callable[[Any], Any]
    """The reply that a person goes on with who skips a step, and what he tells a saga that waits."""
    accepted: set[int] = field(default_factory=set)
    """Sagas whose start returned: from then on they must end."""
    skipped: set[tuple[str, str]] = field(default_factory=set)
    """(saga id, step) that a person has taken over."""
    asked: set[int] = field(default_factory=set)
    """Sagas that may have begun, for all that whoever starts them knows."""
    dropped: set[int] = field(default_factory=set)
    """Sagas that were not started, and that nobody asked for again: they must not begin."""
    refused: list[str] = field(default_factory=list)
    """Starts that were answered with an error other than that nobody could be reached."""
    acted: set[int] = field(default_factory=set)
    """Of the plan's acts: the same may be asked twice at one moment."""
    told_early: list[EarlyAnswer] = field(default_factory=list)
    reruns: dict[str, str] = field(default_factory=dict)
    """By each saga that another one was run again as, that one."""
    answered: Counter[str] = field(default_factory=Counter)
    """What was asked for, and how it was answered, as `signal kept`: so often."""
    begun: set[int] = field(default_factory=set)
    """Flows whose first fact the broker has: from then on they must end."""
    _watching: bool = False
    """Whether it looks at a saga until that is parked."""

    @property
    def saga_ids(self) -> list[str]:
        """The sagas that it has begun, or run again."""
        return [*self.tenant.saga_ids, *self.reruns]

    @property
    def _loses(self) -> bool:
        return any(fault.kind == "lose" for fault in self.tenant.plan.faults)

    @property
    def done(self) -> bool:
        """Whether every start was accepted, and every act done."""
        plan = self.tenant.plan
        started = len(self.accepted) + len(self.refused) + len(self.dropped) == len(plan.starts)
        started = started and len(self.acted) == len(plan.acts) and len(self.begun) == len(plan.flows)
        return started and not (self._loses and self._forgotten())

    @property
    def waits(self) -> bool:
        """Whether it does nothing more before a saga has gone on."""
        return self.done or self._watching

    def _forgotten(self) -> list[int]:
        records = self.tenant.store.records()
        return [index for index in sorted(self.accepted) if self.tenant.saga_ids[index] not in records]

    async def run(self) -> None:
        """One life of the client."""
        transport, store = self.tenant.transport(self.tenant.client), self.tenant.store.view()
        await transport.connect()
        await store.open()
        plan, loop = self.tenant.plan, asyncio.get_running_loop()
        given: Any = {"timeout": timedelta(seconds=plan.patience), "locks": await opened(self.tenant.locks)}
        if self.tenant.flows:
            await transport.declare(self.tenant.listening)
        async with Client(self.tenant.app, store=store, transport=transport, **given) as client:
            todo: list[tuple[float, int, Callable[[], Awaitable[None]]]] = []
            starts = [(at, i) for i, at in enumerate(plan.starts) if i not in self.accepted | self.dropped]
            todo += [(at, i, partial(self._start, client, i)) for at, i in starts]
            acts = [(act.at, i) for i, act in enumerate(plan.acts) if i not in self.acted]
            todo += [(at, 0, partial(self._act, client, i)) for at, i in acts]
            todo += [(at, 0, partial(self._begin, client, i)) for i, at in enumerate(plan.flows) if i not in self.begun]
            for at, _, doing in sorted(todo, key=lambda each: each[:2]):
                await asyncio.sleep(max(0.0, at - loop.time()))
                await doing()
            while self._loses:  # what a store has forgotten is asked for again
                await asyncio.sleep(LOOK_EVERY)
                for index in self._forgotten():
                    await self._start(client, index)

    async def _start(self, client: Client, index: int) -> None:
        saga, message = self.tenant.start(index)
        while True:
            try:
                await client.start(saga, message, key=self.tenant.keys[index])
            except StoreUnreachable as away:
                if self.tenant.plan.patience < PATIENT and DROPPED in away.sentence and index not in self.asked:
                    await self._give_up(client, index)
                    return
                self.asked.add(index)
                await asyncio.sleep(AGAIN_AFTER)
            except StoreMisconfigured:
                self.asked.add(index)
                await asyncio.sleep(AGAIN_AFTER)
            except ChorosError as error:
                self.refused.append(f"start of saga {index}: {error.sentence}")
                return
            else:
                self.accepted.add(index)
                return

    async def _begin(self, client: Client, index: int) -> None:
        """Until the broker has it; told again it is the same flow."""
        flows, after = self.tenant.flows, BEGIN_AFTER
        while index not in self.begun:
            try:
                await client.begin(flows.flow(index), flows.begins(index), run=flows.run(index))
            except BrokerUnreachable:
                await asyncio.sleep(after)
                after *= 2
            else:
                self.begun.add(index)

    async def _give_up(self, client: Client, index: int) -> None:
        """It was not started; that is so when the store is back."""
        there: bool | None = None
        while there is None:
            await asyncio.sleep(LOOK_EVERY)
            with suppress(StoreUnreachable, StoreMisconfigured):
                there = await is_there(client, self.tenant.saga_ids[index])
        self.dropped.add(index)

    async def _act(self, anybody: Client, index: int) -> None:
        act = self.tenant.plan.acts[index]
        client = anybody.signed("desk", f"the simulation wants it: {act.verb}")
        saga_id = self.tenant.saga_ids[act.saga]
        try:
            if act.verb in ("retry", "skip"):
                await self._at_the_desk(client, act, saga_id)
            else:
                self._answered(act, str(act), await self._asked(client, act, saga_id))
        except ChorosError as error:
            self.answered[f"{act.verb} in vain"] += 1
            self.note(f"client: {act}: {error.sentence}")
        self.acted.add(index)
        self._watching = False

    async def _asked(self, client: Client, act: PersonAct, saga_id: str) -> str:
        app, (saga, _) = self.tenant.app, self.tenant.start(act.saga)
        if act.verb == "query":
            return await ask_early(client, saga, saga_id, act.nth, self.told_early)
        if act.verb in ("signal", "update"):
            return await speak(client, saga, saga_id, act, self.example)
        if act.verb == "rerun":
            return await run_again(client, app, act, saga_id, self.reruns)
        moves = act.verb == "move"
        word: str = await (let_go_on(client, app, saga, saga_id) if moves else getattr(client, act.verb)(saga_id))
        return word

    async def _at_the_desk(self, client: Client, act: PersonAct, saga_id: str) -> None:
        """A person looks where the saga is parked, and does something about it."""
        while (instance := (await client.show(saga_id)).instance).status not in TERMINAL and not instance.paused:
            parked = list(instance.parked_at.items())
            self._watching = not parked
            if self._watching:
                await asyncio.sleep(LOOK_EVERY)
                continue
            path, state = parked[act.nth % len(parked)]
            if act.verb == "retry" or path == ROOT:  # nobody can skip a lock
                answer = await client.retry(saga_id, path, state.round)
            else:
                self.skipped.add((saga_id, path))
                wanted: Any = (await client.skippable(saga_id, path)).reply
                reply = self.example(wanted)
                answer = await client.skip(saga_id, path, reply, state.round)
            self._answered(act, f"{act.verb} {path} of saga {act.saga}", answer)
            return

    def _answered(self, act: PersonAct, what: str, answer: str) -> None:
        self.answered[f"{act.verb} {answer.partition(':')[0]}"] += 1
        self.note(f"client: {what}: {answer}")
