"""A saga that asks a person: a loan is paid out once an officer has said yes."""

from datetime import timedelta
from typing import Any

from choros.messages import Command, Done, Fact, Message, Reply, Signal
from choros.saga.nodes import Pivot, Reminder, Retriable, Step, Wait
from choros.saga.policy import LONGEST
from choros.saga.saga import Saga


class Booked(Reply):
    entry: str = "e"


class AskForLoan(Message):
    loan: str = "l1"
    days: int = 3


class SetAside(Command[Booked], refusals=("no_money",)):
    loan: str


class GiveBack(Command[Done]):
    loan: str


class PayOut(Command[Done], refusals=("closed",)):
    loan: str
    by: str


class Archive(Command[Done]):
    loan: str


class Decided(Signal):
    yes: bool = True
    by: str = "Ann"


class Countersigned(Signal):
    by: str = "Bob"


class DecisionNeeded(Fact):
    loan: str


class StillUndecided(Fact):
    loan: str


class LoanPaidOut(Fact):
    loan: str
    by: str


class LoanTurnedDown(Fact):
    loan: str


def set_aside(loan: AskForLoan) -> SetAside:
    return SetAside(loan=loan.loan)


def give_back(loan: AskForLoan) -> GiveBack:
    return GiveBack(loan=loan.loan)


def pay_out(loan: AskForLoan, decided: Decided) -> PayOut:
    return PayOut(loan=loan.loan, by=decided.by)


def archive(loan: AskForLoan, signed: Countersigned | None) -> Archive:
    return Archive(loan=signed.by if signed else "nobody")


def ask(loan: AskForLoan) -> DecisionNeeded:
    return DecisionNeeded(loan=loan.loan)


def remind(loan: AskForLoan) -> StillUndecided | None:
    return StillUndecided(loan=loan.loan) if loan.loan else None


def as_asked(loan: AskForLoan) -> timedelta:
    return timedelta(days=loan.days)


def backwards(loan: AskForLoan) -> timedelta:
    return timedelta(days=-loan.days)


def nothing(loan: AskForLoan) -> timedelta:
    return timedelta(0)


def a_century(loan: AskForLoan) -> timedelta:
    return LONGEST


def long(loan: AskForLoan) -> bool:
    return loan.days > 10


def ship(loan: AskForLoan) -> Archive:
    return Archive(loan=loan.loan)


def officers(loan: AskForLoan) -> list[str]:
    return ["Ann", "Bob"]


def as_long_as(officer: str) -> timedelta:
    return timedelta(hours=3 if officer == "Ann" else 4)


def remind_him(officer: str) -> StillUndecided:
    return StillUndecided(loan=officer)


def signed_himself(officer: str, signed: Countersigned) -> bool:
    return signed.by == officer


def many_officers(loan: AskForLoan) -> list[int]:
    return [*range(100)]


def signed_by_all(loan: AskForLoan, signed: list[Countersigned]) -> PayOut:
    return PayOut(loan=loan.loan, by=", ".join(one.by for one in signed))


judged: list[bool] = []
"""What `granted` was asked about."""


def granted(decided: Decided) -> bool:
    judged.append(decided.yes)
    return decided.yes


def undecided(decided: Decided) -> bool:
    return "perhaps"  # type: ignore[return-value]


def yes(loan: AskForLoan, decided: Decided) -> bool:
    return decided.yes


def signed_twice(loan: AskForLoan, decided: Decided) -> bool:
    return False


LADDER = (
    Reminder(timedelta(0), ask),
    Reminder(timedelta(days=1), remind),
    Reminder(timedelta(days=2), remind),
)
SET_ASIDE = Step(set_aside, to="bank", compensation=give_back)
PAY_OUT = Pivot(pay_out, to="bank")
DECISION = Wait(Decided, within=as_asked, reminders=LADDER, by="officer")
STEPS: tuple[Any, ...] = (
    SET_ASIDE,
    DECISION,
    PAY_OUT,
    Wait(Countersigned, within=timedelta(days=1), otherwise="go_on"),
    Retriable(archive, to="archive"),
)


def make_loan(*steps: Any, **more: Any) -> Saga[AskForLoan]:
    return Saga("loan", start=AskForLoan, steps=steps or STEPS, **more)


def paid_out(loan: AskForLoan, decided: Decided) -> LoanPaidOut:
    return LoanPaidOut(loan=loan.loan, by=decided.by)


def turned_down(loan: AskForLoan) -> LoanTurnedDown:
    return LoanTurnedDown(loan=loan.loan)


loan_saga = make_loan(completed=paid_out, compensated=turned_down)
