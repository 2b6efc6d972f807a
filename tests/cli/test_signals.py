"""`choros saga signal` and `choros saga waiting`: what a person is asked, and what he says."""

import json
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import SERVERS, STORE, Choros, choros

__all__ = ["choros"]

LOANS = """
from datetime import timedelta

from choros import App, Command, Done, Message, Pivot, Saga, Service, Signal, Wait

class Loan(Message):
    loan: str

class Decision(Signal):
    yes: bool

class PayOut(Command[Done]):
    loan: str

def pay_out(loan: Loan, decision: Decision) -> PayOut:
    return PayOut(loan=loan.loan)

def number(loan: Loan) -> str:
    return loan.loan

steps = (Wait(Decision, within=timedelta(days=3), by="officer"), Pivot(pay_out, to="bank"))
app = App("loans", sagas=[Saga("loan", start=Loan, key=number, steps=steps)],
          services=[Service("bank", commands=(PayOut,))])
"""


@pytest.fixture
def loans(choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choros:
    """With two loans that nobody has decided on."""
    (tmp_path / "loans.py").write_text(LOANS)
    monkeypatch.delitem(sys.modules, "loans", raising=False)
    for loan in ("l1", "l2"):
        assert choros("saga", "start", "loans", "loan", "-i", json.dumps({"loan": loan}), *SERVERS).err == ""
    return choros


def test_a_person_sees_what_waits_and_tells_it(loans: Choros) -> None:
    said = loans("saga", "waiting", "loans", "--for", "officer", *STORE, "-o", "json")
    rows = json.loads(said.out)
    assert [(row["wait"], row["for"], row["signal"], row["parked"]) for row in rows] == [
        ("decision", "officer", "decision.v1", False)
    ] * 2
    assert "waits to be told at decision until" in loans("saga", "show", "loans", "l1", *STORE).out
    told = ("saga", "signal", "loans", "l1", "-i", '{"yes": true}', "--by", "Ann", "--reason", "good for it")
    said = loans(*told, "--id", "d1", *SERVERS)
    assert (said.code, said.err, said.out) == (0, "", "signalled: it goes on with decision\n")
    assert loans(*told, "--id", "d1", *SERVERS).out == "signalled: it goes on with decision\n"
    said = loans(*told, *SERVERS)
    assert (said.code, said.out) == (1, "too_late: nobody waits for it any more\n")
    assert "told (signal by Ann: good for it)" in loans("saga", "show", "loans", "l1", *STORE).out
    table = loans("saga", "waiting", "loans", *STORE).out
    assert ("l2" in table, "l1" in table, "officer" in table) == (True, False, True)


def test_a_list_that_is_cut_says_so(loans: Choros) -> None:
    said = loans("saga", "waiting", "loans", "--limit", "1", *STORE)
    assert "there are more than these 1" in said.err
    assert "nothing waits to be told anything" in loans("saga", "waiting", "loans", "--for", "clerk", *STORE).err


def test_mistakes_are_sentences(loans: Choros) -> None:
    said = loans("saga", "signal", "loans", "l1", "-i", "{}", *SERVERS)
    assert (said.code, "Decision: yes: bool." in said.err) == (2, True)
    said = loans("saga", "signal", "loans", "l1", "-i", '{"yes": true}', "--wait", "decisions", *SERVERS)
    assert said.err == "✖ saga 'loan' has no wait 'decisions'. Did you mean 'decision'?\n"


def test_a_program_waits_for_one_answer_while_the_saga_goes_on(loans: Choros) -> None:
    asked = ("saga", "query", "loans", "l1", "--until", "decision", *STORE)
    said = loans(*asked, "--timeout", "0.1")
    assert (said.code, "decision has not replied within 0.1 s; the saga goes on. Try: the same" in said.err) == (
        1,
        True,
    )
    loans("saga", "signal", "loans", "l1", "-i", '{"yes": true}', *SERVERS)
    said = loans(*asked)
    assert (said.code, 'decision: {"yes":true}' in said.out, said.out.splitlines()[0][-7:]) == (0, True, "running")
    loans("saga", "cancel", "loans", "l2", *SERVERS)
    assert loans("saga", "query", "loans", "l2", "--until", "decision", *STORE).code == 3
    said = loans("saga", "query", "loans", "l1", "--until", "decison", *STORE)
    assert (said.code, "Did you mean 'decision'?" in said.err) == (2, True)
    assert loans(*asked, "--timeout", "0").code == 2
