"""Settling: what is outside the database is found out at its provider, under the command's own key.

An `intent` row was committed before the first call, so whoever comes after a crash knows that a call may have happened.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from choros.app.service import Handler, Service
from choros.errors import Refused, StoreUnreachable
from choros.messages import Reply
from choros.runtime.host.admission import Received, understood
from choros.runtime.host.jobs import Transacting
from choros.runtime.host.verdicts import BrokenBarrier
from choros.runtime.participant.answers import Answer, Outside, Unsettled, kept
from choros.runtime.participant.barrier import Barrier, may_refuse
from choros.store.barrier import Database

_MOST_INTENTS = 4
"""A command meets two intents at most, the `do`'s and its own; more means that rows change behind its back."""


class Settling:
    """Brings commands that met an intent to their answer. The caller holds the effect."""

    def __init__(self, service: Service, barrier: Barrier, database: Database, transacting: Transacting) -> None:
        self._service = service
        self._barrier = barrier
        self._database = database
        self._transacting = transacting

    async def carry_out(self, received: Received) -> Answer:
        """Carry a command out; raises what its handler or its provider raised."""
        for _ in range(_MOST_INTENTS):
            found = await self._transacting.insist(received, self._barrier.job(received))
            if isinstance(found, Answer):
                return found
            if isinstance(found, Outside):
                received.outcome = await self._outcome(received, received.handler, fresh=True)
                continue
            settled = await self._settle(received, found)
            if settled.reply.key == received.envelope.key:
                return settled
        raise BrokenBarrier

    async def _settle(self, received: Received, intent: Unsettled) -> Answer:
        command = received
        if intent.fresh:
            with contextlib.suppress(StoreUnreachable):  # what an intent keeps is the command, not a reply to send
                await self._database.mark_sent([intent.row.key])
        elif intent.row.key != received.envelope.key:  # else this attempt asks the same, with a later deadline
            command = understood(kept(intent.row, "command"), self._service)
        try:
            outcome = await self._outcome(command, _provider(command), intent.fresh)
        except Exception:
            received.failure = command.failure
            raise
        finish: Any = partial(self._barrier.finish, command, outcome)
        answer: Answer = await self._transacting.insist(command, finish)
        return answer

    async def _outcome(self, command: Received, handler: Handler | None, fresh: bool) -> Reply | Refused:
        assert handler is not None
        try:
            if handler.ask is not None and not fresh:
                known = await self._barrier.call(command, handler.ask, None)
                if known is not None:
                    return known
            reply = await self._barrier.call(command, handler, None)
        except Refused as refused:
            if may_refuse(command, refused):
                return refused
            raise
        assert reply is not None
        return reply


def _provider(command: Received) -> Handler:
    """The handler; one that has since become transactional cannot say what its predecessor did."""
    if command.handler is None or not command.handler.provider:
        raise BrokenBarrier
    return command.handler
