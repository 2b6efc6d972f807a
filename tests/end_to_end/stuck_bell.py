"""A service whose handlers do not end when they are told to, each in its own way."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from choros import App, Command, Done, Message, Pivot, Saga, Service, SqliteTransaction


class Begin(Message, name="begin"):
    how: str


class Ring(Command[Done], name="ring"):
    how: str


class Toll(Command[Done], name="toll"):
    how: str


def at_work() -> None:
    Path("at-work").touch()


async def swallow() -> None:
    """What is told to stop, and does not listen."""
    while True:
        try:
            at_work()
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


async def in_thread() -> None:
    """What nobody can stop: a driver that blocks, in a thread."""

    def block() -> None:
        at_work()
        time.sleep(3600)

    await asyncio.to_thread(block)


async def block() -> None:
    """What should have been in a thread: no loop turns any more."""
    at_work()
    time.sleep(3600)  # noqa: ASYNC251 (the very mistake)


async def compute() -> None:
    """The same, without ever asking the system for anything."""
    at_work()
    while True:
        pass


async def leave() -> None:
    """It has ended, and what it left behind has not."""
    _left.append(asyncio.create_task(swallow()))
    await asyncio.sleep(0.1)


_left: list[asyncio.Task[None]] = []
WAYS = {way.__name__: way for way in (swallow, in_thread, block, compute, leave)}
bell = Service("bell")


@bell.handles(Ring)
async def ring(command: Ring) -> Done:
    await WAYS[command.how]()
    return Done()


@bell.handles(Toll)
async def toll(command: Toll, transaction: SqliteTransaction) -> Done:
    await WAYS[command.how]()
    return Done()


def send_ring(begin: Begin) -> Ring:
    return Ring(how=begin.how)


def send_toll(begin: Begin) -> Toll:
    return Toll(how=begin.how)


ringing = Saga("ringing", start=Begin, key=lambda begin: begin.how, steps=[Pivot(send_ring, to="bell")])
tolling = Saga("tolling", start=Begin, key=lambda begin: begin.how, steps=[Pivot(send_toll, to="bell")])
app = App("stuck", sagas=[ringing, tolling], services=[bell])
