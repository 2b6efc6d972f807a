"""What an orchestrator committed last it need not load again; but only a commit may rest on that."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from choros.runtime.orchestrator.decider import Decider
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Due, Start, Unjudged, Work
from choros.saga.machine.inputs import CancelRequested
from choros.store.memory.sagas import MemoryStore
from choros.store.sagas import NOTHING, Committed, EntryNames, Loaded, Transition
from choros.transport.memory import MemoryBroker, MemoryTransport
from choros.wire.envelope import Envelope
from tests.patience import PATIENCE

from ..saga import shop
from .stage import make_app, reply_to

START = Start("start-1", "order", 1, shop.ORDER.order_id, shop.ORDER.to_json(), "digest")


class Seen(MemoryStore):
    """Remembers what it was asked for, and what was committed."""

    def __init__(self, *, sharing: MemoryStore | None = None) -> None:
        super().__init__(sharing=sharing)
        self.loads = self.conflicts = 0
        self.committed: list[Transition] = []

    async def load(self, saga_ids: Sequence[str], wanted: EntryNames = NOTHING) -> Mapping[str, Loaded]:
        self.loads += 1
        return await super().load(saga_ids, wanted)

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        answers = await super().commit(batch)
        self.conflicts += answers.count(Committed.CONFLICT)
        self.committed += batch
        return answers

    def last_command(self) -> Envelope:
        message = self.committed[-1].outbox[0].message
        assert message
        return message


@asynccontextmanager
async def deciding(store: MemoryStore) -> AsyncIterator[Decider]:
    """A decider of its own process: it knows what it has decided itself."""
    await store.open()
    decider = Decider(Transitions(make_app()).make, store, MemoryTransport(MemoryBroker()))
    running = asyncio.create_task(decider.run())
    try:
        async with asyncio.timeout(PATIENCE):
            yield decider
    finally:
        decider.stop()
        await running
        await decider.close(1.0)


def reply(command: Envelope) -> Work:
    return Work("s1", Unjudged(reply_to(command)))


async def test_what_was_committed_here_last_is_not_loaded_again() -> None:
    store = Seen()
    async with deciding(store) as decider:
        await decider.ask(Work("s1", START))
        assert store.loads == 1  # whether there is one already
        steps = [await decider.ask(reply(store.last_command())) for _ in range(3)]
        assert steps[-1].instance.status == "completed"
    assert (store.loads, store.conflicts) == (1, 0)


async def test_a_timer_is_decided_on_what_the_store_says_has_left() -> None:
    store = Seen()
    async with deciding(store) as decider:
        await decider.ask(Work("s1", START))
        await decider.ask(Work("s1", Due()))
    assert store.loads == 2


async def test_what_another_process_has_moved_is_loaded_and_decided_again() -> None:
    mine = Seen()
    other = Seen(sharing=mine)
    async with deciding(mine) as decider, deciding(other) as elsewhere:
        await decider.ask(Work("s1", START))
        await elsewhere.ask(reply(mine.last_command()))
        await decider.ask(Work("s1", CancelRequested("c1")))
    assert (mine.loads, mine.conflicts) == (2, 1)
    assert mine.committed[-1].record.version == 3 and mine.committed[-1].record.status == "compensating"


async def test_a_reply_is_not_parked_for_what_this_process_has_not_heard_of_yet() -> None:
    mine = Seen()
    other = Seen(sharing=mine)
    async with deciding(mine) as decider, deciding(other) as elsewhere:
        await decider.ask(Work("s1", START))
        await elsewhere.ask(reply(mine.last_command()))
        # By what this process knows, nobody has reserved anything.
        done = await decider.ask(reply(other.last_command()))
    assert done.instance.state("reserve_inventory").progress == "ok"
    assert mine.conflicts == 0


async def test_who_repeats_what_another_process_took_in_is_told_that_it_is_a_repeat() -> None:
    mine = Seen()
    other = Seen(sharing=mine)
    async with deciding(mine) as decider, deciding(other) as elsewhere:
        await decider.ask(Work("s1", START))
        answer = reply_to(mine.last_command())
        await elsewhere.ask(Work("s1", Unjudged(answer)))
        assert (await decider.ask(Work("s1", Unjudged(answer)))).repeated


@pytest.mark.parametrize("lost", [False, True])
async def test_what_the_store_did_not_say_yes_to_is_not_known(lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Seen()
    async with deciding(store) as decider:
        await decider.ask(Work("s1", START))
        work, refuse = reply(store.last_command()), iter([True])

        async def commit(batch: Sequence[Transition]) -> Sequence[Committed]:
            if next(refuse, False):
                if lost:  # the commit was done, and its answer lost
                    await Seen.commit(store, batch)
                return [Committed.CONFLICT]
            return await Seen.commit(store, batch)

        monkeypatch.setattr(store, "commit", commit)
        done = await decider.ask(work)
    assert done.repeated is lost and store.loads == 2
    assert done.instance.state("charge_payment").progress == "ok"
