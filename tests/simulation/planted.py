"""Bugs to plant into the runtime: each takes out one thing that the promise rests on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from choros.runtime.host.outgoing import Outgoing
from choros.runtime.host.relay import Relay
from choros.runtime.orchestrator import transition
from choros.runtime.orchestrator.decider import Decider
from choros.runtime.orchestrator.recognition import instance_of
from choros.runtime.orchestrator.timers import Timers
from choros.runtime.orchestrator.work import Work
from choros.runtime.participant import verdicts
from choros.runtime.participant.verdicts import CarryOut, Matter
from choros.runtime.subscriber import facts, reactions
from choros.runtime.subscriber import order as ordering
from choros.runtime.subscriber.inbox import handled_row, inbox_key
from choros.saga.machine import answers
from choros.saga.machine.instance import Instance
from choros.saga.machine.turn import Turn
from choros.saga.saga import Saga, Sagas
from choros.store.sagas import KnownKinds, Record
from choros.store.standing import Standing
from choros.transport.port import Published
from choros_verify.simulation.stores import SimDatabase, SimStore

Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledged_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """The orchestrator lets the broker forget a reply before it is in the store."""
    rounds = Decider._round

    async def early(self: Decider, by_saga: Mapping[str, list[Work]]) -> dict[str, list[Work]]:
        for work in (work for works in by_saga.values() for work in works):
            if work.delivery:
                await work.delivery.ack()
        return await rounds(self, by_saga)

    patch.setattr(Decider, "_round", early)


def no_scan_of_the_outbox(patch: pytest.MonkeyPatch) -> None:
    """What a crash left in the outbox stays there."""

    async def nothing(self: Relay) -> None:
        await asyncio.sleep(0)

    patch.setattr(Relay, "_scan", nothing)


def no_dedupe(patch: pytest.MonkeyPatch) -> None:
    """A participant carries every copy of a command out."""
    patch.setattr(verdicts, "on_do", lambda matter: CarryOut(matter.row("running")))


def sent_before_it_is_confirmed(patch: pytest.MonkeyPatch) -> None:
    """Whatever the broker says, a message counts as sent."""
    settle = Relay._settle

    def gullible(self: Relay, one: Outgoing, result: Published) -> None:
        settle(self, one, Published.CONFIRMED)

    patch.setattr(Relay, "_settle", gullible)


def timers_that_give_up(patch: pytest.MonkeyPatch) -> None:
    """After the first look for due timers nobody looks again."""
    run = Timers.run

    async def once(self: Timers, known: KnownKinds, every: float) -> None:
        try:
            async with asyncio.timeout(every * 1.5):
                await run(self, known, every)
        except TimeoutError:
            await asyncio.Event().wait()

    patch.setattr(Timers, "run", once)


def fact_numbers_that_start_again(patch: pytest.MonkeyPatch) -> None:
    """The number of a saga's last fact is forgotten between two decisions."""
    begin = Turn.__init__

    def forgetful(self: Turn, instance: Any, now: float) -> None:
        begin(self, instance, now)
        self.change(seq=0)

    patch.setattr(Turn, "__init__", forgetful)


def no_horizon(patch: pytest.MonkeyPatch) -> None:
    """What has no row was never done, however old it is."""
    patch.setattr(Matter, "behind", False)


def no_tombstone(patch: pytest.MonkeyPatch) -> None:
    """An undo that finds nothing leaves nothing behind."""
    patch.setattr(verdicts, "buried", lambda matter: ())


def a_step_in_doubt_is_left_alone(patch: pytest.MonkeyPatch) -> None:
    """Only what was answered is undone."""
    change = Turn.change_node

    def certain(self: Turn, path: str, **changes: Any) -> None:
        if changes.get("progress") == "in_doubt":
            changes["progress"] = "refused"
        change(self, path, **changes)

    patch.setattr(Turn, "change_node", certain)


def facts_that_overtake(patch: pytest.MonkeyPatch) -> None:
    """A fact leaves although another orchestrator still has an earlier one of its saga."""
    patch.setattr(Relay, "holds", lambda self, ids: True)


def a_late_answer_counts(patch: pytest.MonkeyPatch) -> None:
    """An OK that comes while its step is being undone counts as the undo's."""
    awaited = answers._is_awaited

    def anything(walk: Any, leaf: Any, leg: Any, answer: Any) -> bool:
        return bool(answer.key.operation == "do" or awaited(walk, leaf, leg, answer))

    patch.setattr(answers, "_is_awaited", anything)


def declarations_that_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    """Whatever is declared under the name and version of the saga decides the instance."""

    def by_name_alone(sagas: Sagas, record: Record) -> tuple[Saga[Any], Instance]:
        return sagas[record.saga, record.saga_version], instance_of(record)

    patch.setattr(transition, "recognise", by_name_alone)


def a_handler_that_goes_on(patch: pytest.MonkeyPatch) -> None:
    """A transaction that has lost a call is committed if its handler did not mind."""
    patch.setattr(Standing, "lose", lambda *_: None)


def an_inbox_for_all(patch: pytest.MonkeyPatch) -> None:
    """What one subscriber has heard counts as heard by those beside it."""
    for module in (facts, reactions):
        patch.setattr(module, "inbox_key", lambda _, fact: inbox_key("all", fact))
    patch.setattr(ordering, "handled_row", lambda _, fact, now: handled_row("all", fact, now))


def a_store_without_scopes(patch: pytest.MonkeyPatch) -> None:
    """Whoever works on the saga store sees what everybody has there, whatever the namespace."""
    begin = SimStore.__init__

    def unscoped(self: SimStore, *given: Any, namespace: str, **more: Any) -> None:
        begin(self, *given, namespace="everybody", **more)

    patch.setattr(SimStore, "__init__", unscoped)


def a_database_without_scopes(patch: pytest.MonkeyPatch) -> None:
    """A service finds the barrier rows of every application in its database, and their unsent replies."""
    begin = SimDatabase.__init__

    def unscoped(self: SimDatabase, *given: Any, namespace: str, **more: Any) -> None:
        begin(self, *given, namespace="everybody", **more)

    patch.setattr(SimDatabase, "__init__", unscoped)


PLANTS: Sequence[Plant] = (
    declarations_that_are_not_compared,
    acknowledged_before_the_commit,
    no_scan_of_the_outbox,
    no_dedupe,
    sent_before_it_is_confirmed,
    timers_that_give_up,
    fact_numbers_that_start_again,
    no_horizon,
    no_tombstone,
    a_step_in_doubt_is_left_alone,
    facts_that_overtake,
    a_late_answer_counts,
    a_handler_that_goes_on,
    an_inbox_for_all,
    a_store_without_scopes,
    a_database_without_scopes,
)
