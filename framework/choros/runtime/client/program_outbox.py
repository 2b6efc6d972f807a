"""Facts of a program that lie beside its rows, written in one transaction with these, until the broker has them.

They are rows of the barrier's table as those of a service's outbox, in a place of the program's own, and leave as they
do: those of one stream one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from choros.app.app import App
from choros.app.program import Program
from choros.app.sending import headers_text
from choros.errors import UsageError, unknown
from choros.messages import Fact
from choros.runtime.client.program_facts import check_begins_nothing, fact_of_program
from choros.runtime.host.outbox_rows import leaving_fact
from choros.runtime.host.relay import Relay
from choros.runtime.host.retention import SWEEP_SECONDS, keep_forgetting
from choros.runtime.host.service_outbox import FACTS, RowsLeaving
from choros.sources import now
from choros.store.barrier import Database, Row
from choros.telemetry.logs import get_logger
from choros.transport.port import Published, Transport
from choros.values import replace
from choros.wire.envelope import Envelope
from choros.wire.own_headers import Headers

log = get_logger(__name__)
_FACTS = replace(FACTS, resent="choros.program.sent")
_SCAN_SECONDS = 0.5
_CLOSE_SECONDS = 5.0


def program_named(app: App, name: str) -> Program:
    """This program; raises UsageError where there is none."""
    if name not in app.programs:
        hint = f"App(programs=(Program({name!r}, publishes=(...)),))."
        raise UsageError(*unknown(f"There is no program {name!r} in this application.", name, app.programs, hint))
    return app.programs[name]


def fact_place(app: App, program: str) -> str:
    """Under what the facts of a program lie, where others share the database."""
    return f"{app.namespace}.{program}"


def fact_row(app: App, name: str, fact: Fact, key: str, seq: int, correlation_id: str, headers: Headers) -> Row:
    """The row of a fact; raises UsageError and WrongFact where that is none of this program."""
    program, starts = program_named(app, name), app.flow_part().starts
    check_begins_nothing(fact, starts)
    moment = now()
    envelope = fact_of_program(
        program, fact, namespace=app.namespace, at=moment, key=key, seq=seq, correlation_id=correlation_id,
        own_headers=headers_text(headers),
    )  # fmt: skip
    return leaving_fact(name, envelope, moment)


def same_fact(one: str, other: str) -> bool:
    """Whether two such rows are of one fact."""
    return Envelope.loads(one).id == Envelope.loads(other).id


class ProgramOutbox:
    """Has the broker take every fact that was committed beside somebody's rows: at least once, each under its id."""

    def __init__(
        self, app: App, name: str, database: Database, *, transport: Transport, remember: float,
        clock: Callable[[], float] = now,
    ) -> None:  # fmt: skip
        """`transport`: connected, and what the program needs is declared. `remember`: for how many seconds it is known
        that a fact has left."""
        self.place: str = fact_place(app, name)
        """Whose facts these are."""
        self.database = database
        self.last_delivery: float | None = None
        """When one left last."""
        self._transport, self._remember, self._clock = transport, remember, clock
        rows = RowsLeaving(database, name, "publishing")
        self._relay = Relay(_FACTS, self._published, rows, scan_every=_SCAN_SECONDS)
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Send them until stopped."""
        log.info("choros.program.started", place=self.place)
        forgetting = keep_forgetting(self.database, self._clock, {"outbox": self._remember}, SWEEP_SECONDS)
        working = [asyncio.ensure_future(one) for one in (self._relay.run(), forgetting, self._stopped.wait())]
        try:
            await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in working:
                one.cancel()
            await asyncio.wait(working)
            await self._relay.close(_CLOSE_SECONDS)

    def stop(self) -> None:
        """Look for no more."""
        self._stopped.set()

    async def _published(self, envelopes: Sequence[Envelope]) -> Sequence[Published]:
        outcomes = await self._transport.publish(envelopes)
        if Published.CONFIRMED in outcomes:
            self.last_delivery = self._clock()
        return outcomes
