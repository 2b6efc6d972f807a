"""How a flow ends: one row for each, with its closer, in which the first decision to commit wins."""

from __future__ import annotations

from dataclasses import dataclass

from choros.app.flow_part import Decisions
from choros.runtime.subscriber.inbox import ending_key
from choros.store.barrier import Row, Transaction
from choros.telemetry.logs import get_logger
from choros.wire.envelope import Envelope

log = get_logger(__name__)


class EndedOtherwise(Exception):
    """What a closer would say comes too late: another end has been committed."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What a closer says about the flow of the fact that it handles, in the transaction in which it does."""

    subscriber: str
    decisions: Decisions | None
    """None where it does not close this flow."""
    fact: Envelope
    transaction: Transaction
    now: float

    async def check(self, said: str) -> None:
        """It is about to publish a fact of this type; raises EndedOtherwise where that comes too late."""
        decisions = self.decisions
        if decisions is None or said not in decisions.all:
            return
        key = ending_key(self.subscriber, self.fact)
        row = await self.transaction.read_row(key)
        if row is not None and not (row.content in decisions.turns and said in decisions.bad):
            log.info("choros.flow.too_late", flow=self.fact.flow_id, type=said, ended=row.content)
            raise EndedOtherwise
        await self.transaction.write_row(Row(key=key, state="ok", content=said, began=self.fact.began, since=self.now))
