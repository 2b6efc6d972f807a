"""The locks at work: a saga that has been created takes its keys, and one that has ended passes them on.

Both follow a commit, and may be lost with the process. Then the saga asks once more by a timer of its own; and a key
that others wait for is looked at now and then, whoever has it. Safety is the compare-and-set on the rows alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

from choros.errors import ChorosError, StoreUnreachable
from choros.runtime.orchestrator.lock_row import LockRow
from choros.runtime.orchestrator.lock_rows import LockRows
from choros.runtime.orchestrator.work import Due, Folded, Start, Work
from choros.saga.machine.inputs import LockTold
from choros.saga.machine.instance import Instance, LockState
from choros.store.sagas import Store
from choros.telemetry.logs import get_logger

log = get_logger("choros.orchestrator")

LOOK_EVERY = 5.0
"""Seconds between two looks for what nobody has passed on."""
CLAIM_SECONDS = 5.0
AT_ONCE = 16
"""Groups of keys that one look is handed at most."""
LONG = 60.0
"""Seconds after which it is worth a word that somebody waits."""
MOST_NOTICED, NOTICED_FOR = 5, 60.0
"""Sentences, and for how many seconds each is one: another process may look next time."""


class Locks:
    """Those of one application. Any number of these may run side by side."""

    def __init__(
        self,
        rows: LockRows,
        sagas: Store,
        submit: Callable[[Iterable[Work]], None],
        background: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """`submit` hands work to whoever decides the sagas, `background` runs what he must not wait for."""
        self.rows = rows
        self._sagas = sagas
        self._submit = submit
        self._background = background
        self._asking: dict[str, bool] = {}
        """Sagas for which keys are being taken; whether that is to be done once more."""
        self._waited_for: dict[str, tuple[float, str]] = {}

    @property
    def noticed(self) -> Sequence[str]:
        """A sentence for each key that somebody has waited for too long, as far as this process has looked of late."""
        since = self.rows.store.now() - NOTICED_FOR
        return [said for _, (at, said) in sorted(self._waited_for.items()) if at >= since][:MOST_NOTICED]

    def follow(self, folded: Folded, instance: Instance) -> None:
        """Do what is next for a saga with a lock, once this is stored."""
        if folded.stuck or instance.lock is None:
            return
        given = [work.given for work in (*folded.done, *folded.repeated)]
        if instance.terminal:
            if folded.transition or any(isinstance(one, LockTold) for one in given):
                self._background(self._leave(instance.saga_id, instance.lock.keys))
        elif instance.queued and (any(isinstance(one, Start | Due) for one in given) or _is_new(folded)):
            self.ask(instance.saga_id, instance.lock)

    def ask(self, saga_id: str, lock: LockState) -> None:
        """Take the keys of a saga, as far as they are free, and tell it."""
        again = saga_id in self._asking
        self._asking[saga_id] = again
        if not again:
            self._background(self._ask(saga_id, lock))

    async def _ask(self, saga_id: str, lock: LockState) -> None:
        try:
            with suppress(StoreUnreachable):  # its timer, or a look at what it waits for, comes round
                told = await self._told(saga_id, lock)
                while self._asking[saga_id]:
                    self._asking[saga_id] = False
                    told = await self._told(saga_id, lock)
                self._submit([Work(saga_id, told)])
        finally:
            del self._asking[saga_id]

    async def _told(self, saga_id: str, lock: LockState) -> LockTold:
        """One key after the other, all in the same order: so nobody waits for who waits for him."""
        for key in lock.keys:
            row = await self.rows.ask(key, saga_id, lock.most if lock.when_taken == "queue" else 0)
            if row.handed_on and row.holder not in ("", saga_id):
                await self._wake(row.holder)
            if row.holder != saga_id:
                if saga_id in row.named:
                    return LockTold("waiting", key, row.holder)
                return LockTold("join" if lock.when_taken == "join" else "refuse", key, row.holder)
        return LockTold("taken")

    async def _leave(self, saga_id: str, keys: Sequence[str]) -> None:
        with suppress(StoreUnreachable):  # whoever waits is found by a look
            for key in keys:
                before, after = await self.rows.leave(key, saga_id)
                if after.holder not in ("", before.holder):
                    await self._wake(after.holder)

    async def _wake(self, saga_id: str) -> None:
        """It has got a key that it waited for, and may have to take others."""
        instance = await self._known(saga_id)
        if instance and instance.lock and instance.queued and not instance.terminal:
            self.ask(saga_id, instance.lock)

    async def _known(self, saga_id: str) -> Instance | None:
        """The state of this saga; None where there is none, or only a newer choros can read it."""
        found = (await self._sagas.load([saga_id])).get(saga_id)
        with suppress(ValueError):
            return Instance.loads(found.record.state) if found else None
        return None

    # --- the net ---

    async def run(self) -> None:
        """Look now and then for keys that nobody has passed on, until cancelled."""
        while True:
            with suppress(StoreUnreachable):  # whoever decides says so
                await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Look at the keys that somebody waits for."""
        keys = await self.rows.due(CLAIM_SECONDS, AT_ONCE)
        for key in keys:
            try:
                await self._look_at(key)
            except StoreUnreachable:
                raise
            except ChorosError as error:
                log.error("choros.lock.failed", key=key, reason=error.sentence)
        await self.rows.put_off(keys)

    async def _look_at(self, key: str) -> None:
        row = (await self.rows.look(key)).after
        holder = await self._known(row.holder) if row.holder else None
        if holder and holder.queued and holder.lock:
            self.ask(row.holder, holder.lock)
        elif row.handed_on:
            await self.rows.know(key)
        self._note(key, row, holder)

    def _note(self, key: str, row: LockRow, holder: Instance | None) -> None:
        now = self.rows.store.now()
        if not row.waiting or now - row.waiting[0].since < LONG:
            self._waited_for.pop(key, None)
            return
        state = f", which is {holder.status}" if holder else ""
        said = (
            f"{key} has been locked by saga {row.holder}{state}, for {now - row.since:.0f} s; {len(row.waiting)} wait"
            f" for it, the first for {now - row.waiting[0].since:.0f} s."
        )
        self._waited_for[key] = now, said


def _is_new(folded: Folded) -> bool:
    return folded.transition is not None and folded.transition.record.version == 1
