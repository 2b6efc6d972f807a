"""What is asked of every run of facts and of acknowledgements, and of whom it is not asked."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from choros.messages import UNFINISHED, Failure
from choros.testing.conformance.records import creation
from choros_verify.simulation.broker_ledger import LedgerLine
from choros_verify.simulation.fact_invariants import fact_violations
from choros_verify.simulation.faults import Fault
from choros_verify.simulation.observer import Commit

ENDED_AT, ACKED_AT = 5.0, 7.0


def evidence(status: str, *struck: Fault, saga_id: str = "s1", acked_at: float = ACKED_AT, body: bytes = b"") -> Any:
    """A saga came to that at `ENDED_AT`, and a reply to it, which no commit has taken in, was acknowledged."""
    ended = creation(saga_id, status=status)
    wire = SimpleNamespace(correlation_id="s1", headers={}, type="done.v1", body=body)
    ledger = SimpleNamespace(entries=[LedgerLine(acked_at, "acked", "reply", "replies")], about={"reply": wire})
    return SimpleNamespace(
        were=lambda *kinds: any(fault.kind in kinds for fault in struck), struck=struck,
        commits=[Commit(ENDED_AT, "orchestrator", replace(ended, record=replace(ended.record, version=2)))],
        app=SimpleNamespace(services={}, choreographies={}, namespace="shop", name="shop"), facts={}, effects=[],
        records={}, deleted={}, quiet=True, ledger=ledger, replies="replies", name=str,
    )  # fmt: skip


DEPLOY = Fault("deploy", "orchestrator", 1)


@pytest.mark.parametrize("status", ["completed", "compensated"])
def test_a_worker_with_another_declaration_need_not_note_a_late_reply_to_what_has_ended(status: str) -> None:
    assert list(fact_violations(evidence(status, DEPLOY))) == []


@pytest.mark.parametrize(
    "run",
    [
        evidence("completed"),
        evidence("completed", Fault("crash", "orchestrator", 1)),
        evidence("running", DEPLOY),
        evidence("parked", DEPLOY),
        evidence("completed", DEPLOY, acked_at=ENDED_AT - 1),
        evidence("completed", DEPLOY, saga_id="s2"),
    ],
    ids=["no deploy", "another fault", "running", "parked", "before its end", "another saga"],
)
def test_any_other_reply_that_is_acknowledged_and_in_no_record_is_a_violation(run: Any) -> None:
    (violation,) = fact_violations(run)
    assert violation.startswith("11: the reply reply was acknowledged")


def untold(*struck: Fault) -> Any:
    """There was a fact, and the service that reacts to it was not told."""
    run = evidence("completed", *struck, saga_id="s1")
    kind = SimpleNamespace(type_name="done")
    run.app.services = {"bookkeeping": SimpleNamespace(name="bookkeeping", facts=[kind])}
    run.facts = {"f1": SimpleNamespace(source="/shop/shop", stream="s1", seq=1, type="done")}
    run.ledger = SimpleNamespace(entries=[], about={})
    return run


@pytest.mark.parametrize("struck", [(), (Fault("older", "subscriber:other", 1),), (Fault("crash", "client", 1),)])
def test_who_reacts_to_a_fact_is_told(struck: tuple[Fault, ...]) -> None:
    assert list(fact_violations(untold(*struck))) == ["8: bookkeeping reacted to done of s1 0 times."]


def test_an_older_release_passes_over_what_it_has_no_reaction_to() -> None:
    assert list(fact_violations(untold(Fault("older", "subscriber:bookkeeping", 1)))) == []


def test_that_a_command_is_not_finished_yet_need_not_be_noted_twice() -> None:
    said = Failure(code=UNFINISHED, kind="failed").to_json().encode()
    assert list(fact_violations(evidence("running", body=said))) == []
