"""`choros facts fail`: a reaction that waits for a person is to give up."""

from __future__ import annotations

from choros.cli.dead_acts import act
from choros.cli.desk import LetterIds, LetterReason, check_said
from choros.cli.options import AppName, BrokerUrl, Output
from choros.cli.signature import By, whoever
from choros.cli.verbs import Verbs
from choros.desk.parkings import WantedLetters
from choros.roles.addresses import DEFAULT_BROKER
from choros.runtime.orchestrator.signature import Signature

app = Verbs()


@app.command("fail", examples=['facts fail shop 1d1f5763e636 --reason "the carrier is bankrupt"'])
def facts_fail(
    application: AppName,
    *,
    ids: LetterIds = None,
    by: By = "",
    reason: LetterReason = "",
    broker: BrokerUrl = DEFAULT_BROKER,
    output: Output = "table",
) -> None:
    """Have reactions give up: put these dead letters back with the order to say what they say then (`gives_up=`).

    Each service does so in its own transaction, and never does the rest afterwards. What was handled meanwhile stays
    so. Where nothing is declared to be said, the fact is parked again."""
    wanted = WantedLetters(ids=frozenset(ids or ()))
    check_said(wanted, False)
    act("fail", application, wanted, Signature(by or whoever(), reason), broker, output, None)
