"""Group commit: all that waits at the same moment is one statement, in one transaction, with one flush of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from choros.errors import ChorosError, StoreUnreachable
from choros.store.postgres.errors import Untaken
from choros.store.postgres.rows import COMMIT, given
from choros.store.postgres.server import PostgresServer
from choros.store.sagas import Committed, Transition
from choros.store.together import Together
from choros.telemetry.logs import get_logger

log = get_logger(__name__)

FLUSH_SECONDS = 0.05
"""How long marks of sent messages may wait for a commit to ride with."""
AGAIN_SECONDS = 1.0
"""How long marks that could not be written wait, where no commit comes that they could ride with."""
_TRIPS = 2
"""Commits under way at once: while one is on the wire, the next is gathered."""
Marks = frozenset[tuple[str, str]]
NONE: Marks = frozenset()


class Commits:
    """Commits of one application, and the marks of what was sent, which go along."""

    def __init__(self, server: PostgresServer, scope: str) -> None:
        self._server, self._scope = server, scope
        self._together = Together(self._commit_all, weigh=len, under_way=_TRIPS)
        self._marks: set[tuple[str, str]] = set()
        self._riding: set[tuple[str, str]] = set()
        self._flush: asyncio.TimerHandle | None = None
        self._flushing: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def commit(self, batch: Sequence[Transition]) -> Sequence[Committed]:
        """One answer for each, in order, once they are there to stay."""
        self._check_open()
        return await self._together.ask(batch)

    def mark_sent(self, sent: Iterable[tuple[str, str]]) -> None:
        """Note what is sent; it is written with the next commit, or soon."""
        self._check_open()
        self._marks.update(sent)
        self._expect(FLUSH_SECONDS)

    def marks(self) -> Marks:
        """What was marked but may not be written yet: reads leave it out. To be taken *before* the read."""
        return frozenset(self._marks | self._riding)

    async def close(self) -> None:
        """Write what waits."""
        self._stopped = True
        if self._flush is not None:
            self._flush.cancel()
        await self._write_marks()
        await self._together.close()

    def _check_open(self) -> None:
        if self._stopped:
            raise StoreUnreachable("The saga store is closed.", "await store.open() before using it.")

    # --- marks ---

    def _expect(self, seconds: float) -> None:
        if self._flush is None and not self._stopped:
            self._flush = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._flush = None
        task = asyncio.create_task(self._write_marks())
        self._flushing.add(task)
        task.add_done_callback(self._flushing.discard)

    async def _write_marks(self) -> None:
        if self._marks:
            try:
                await self._together.ask(())
            except ChorosError:
                self._expect(AGAIN_SECONDS)

    # --- commits ---

    async def _commit_all(self, asked: Sequence[Sequence[Transition]]) -> Sequence[Sequence[Committed]]:
        marks = frozenset(self._marks)
        self._marks, self._riding = set(), self._riding | marks
        try:
            return await self._in_turns(asked, marks)
        except BaseException:
            self._marks |= marks  # what was deleted by then is deleted once more
            raise
        finally:
            self._riding -= marks

    async def _in_turns(self, asked: Sequence[Sequence[Transition]], marks: Marks) -> Sequence[Sequence[Committed]]:
        """Of each saga one transition at a time: where several ask for the same one, one behind the other."""
        answers = [[Committed.CONFLICT] * len(batch) for batch in asked]
        rest = [(turn, place) for turn, batch in enumerate(asked) for place in range(len(batch))]
        while rest or marks:
            taken: dict[str, tuple[int, int]] = {}
            for turn, place in rest:
                taken.setdefault(asked[turn][place].record.saga_id, (turn, place))
            became = await self._committed([asked[turn][place] for turn, place in taken.values()], marks)
            for (turn, place), answer in zip(taken.values(), became, strict=True):
                answers[turn][place] = answer
            rest, marks = sorted({*rest} - {*taken.values()}), NONE
        return answers

    async def _committed(self, batch: Sequence[Transition], marks: Marks) -> list[Committed]:
        try:
            return await self._ask(batch, marks)
        except Untaken:  # one of them holds what PostgreSQL cannot take: alone it harms no other
            await self._ask((), marks)
            return [await self._alone(one) for one in batch]

    async def _alone(self, transition: Transition) -> Committed:
        try:
            return (await self._ask((transition,), NONE))[0]
        except Untaken as error:
            log.error("choros.store.refused", saga_id=transition.record.saga_id, error=error.sentence)
            return Committed.REFUSED

    async def _ask(self, batch: Sequence[Transition], marks: Marks) -> list[Committed]:
        done = {saga_id for (saga_id,) in await self._server.ask(COMMIT, *given(self._scope, batch, marks))}
        return [Committed.OK if one.record.saga_id in done else Committed.CONFLICT for one in batch]
