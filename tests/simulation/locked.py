"""An application whose sagas lock one account or two, one after the other."""

from __future__ import annotations

from datetime import timedelta

from choros import App, Command, Done, Fact, Failure, Lock, Message, Pivot, RetryPolicy, Saga, Service, Step


class Transfer(Message):
    source: str
    target: str


class TakeOut(Command[Done], refusals=("no_cover",)):
    account: str


class PutBack(Command[Done]):
    account: str


class PutIn(Command[Done], refusals=("no_such_account",)):
    account: str


class TakeBack(Command[Done]):
    account: str


class Report(Command[Done], refusals=("not_now",)):
    account: str


class Transferred(Fact):
    target: str


class NotTransferred(Fact):
    code: str


def take_out(wanted: Transfer) -> TakeOut:
    return TakeOut(account=wanted.source)


def put_back(wanted: Transfer) -> PutBack:
    return PutBack(account=wanted.source)


def put_in(wanted: Transfer) -> PutIn:
    return PutIn(account=wanted.target)


def take_back(wanted: Transfer) -> TakeBack:
    return TakeBack(account=wanted.target)


def report(wanted: Transfer) -> Report:
    return Report(account=wanted.target)


def transferred(wanted: Transfer) -> Transferred:
    return Transferred(target=wanted.target)


def not_transferred(failure: Failure) -> NotTransferred:
    return NotTransferred(code=failure.code)


SOON = RetryPolicy(total=timedelta(minutes=2), jitter=0)
LOCK = Lock("account", key=lambda wanted: (wanted.source, wanted.target), within=timedelta(minutes=20))


def transfer_under(lock: Lock, name: str = "transfer") -> Saga[Transfer]:
    return Saga(
        name,
        start=Transfer,
        lock=lock,
        steps=(
            Step(take_out, to="bank", compensation=put_back, retry=SOON),
            Step(put_in, to="other-bank", compensation=take_back, retry=SOON),
            Pivot(report, to="books", retry=SOON),
        ),
        completed=transferred,
        compensated=not_transferred,
    )


def app_of(*sagas: Saga[Transfer]) -> App:
    return App(
        "transfers",
        sagas=sagas,
        services=[
            Service("bank", commands=(TakeOut, PutBack)),
            Service("other-bank", commands=(PutIn, TakeBack)),
            Service("books", commands=(Report,)),
            Service("news", facts=(Transferred, NotTransferred)),
        ],
    )


transfer = transfer_under(LOCK)
app = app_of(transfer)
STARTS = [
    (transfer, Transfer(source="a", target="b")),
    (transfer, Transfer(source="b", target="a")),
    (transfer, Transfer(source="b", target="c")),
]
