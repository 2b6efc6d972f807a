"""What a saga may be told of its lock before it begins, and what must hold until then. Two sagas under one lock, and
who frees it when, are explored by `locks.py`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from choros.saga.machine.inputs import Decision, Input, LockTold
from choros.saga.machine.instance import Instance, LockState
from choros_verify.exploration.violation import hold

ANOTHER = "another"
"""The saga that has the lock."""


def told_of_lock(instance: Instance) -> Iterator[LockTold]:
    """While it is queued, at any moment, again and again: that it has its keys, that it is to wait, or that it never
    gets them."""
    state = instance.lock
    if state is not None and instance.queued:
        words: Any = {"queue": ("waiting", "refuse")}.get(state.when_taken, (state.when_taken,))
        yield LockTold("taken")
        yield from (LockTold(word, state.keys[0], ANOTHER) for word in words)


def asks(instance: Instance) -> bool:
    """Whether it asks for its lock again and again, until it is told something."""
    return instance.queued and instance.lock is not None and instance.lock.ask_at is not None


def asks_for_lock(instance: Instance) -> bool:
    """Whether it will ask for its lock, or give it up, by itself."""
    state = instance.lock
    return state is not None and instance.queued and not state.until is state.ask_at is None


def has_joined(instance: Instance) -> bool:
    """Whether another saga does what it was to do: nothing was refused to anybody, so nothing is said of it."""
    state = instance.lock
    return state is not None and instance.queued and state.when_taken == "join" and bool(state.holder)


def at(state: LockState | None, *, asks: bool, is_over: bool, now: float, later: float) -> LockState | None:
    """With times under which it asks again now, or has waited as long as it may."""
    if state is None:
        return None
    until = None if state.until is None else now if is_over else later
    return replace(state, until=until, ask_at=None if state.ask_at is None else now if asks else later)


def queueing(before: Instance, decided: Decision, inputs: Sequence[Input]) -> None:
    """46. Before it has its lock a saga commands nobody, whatever it is told or asked; and what it has, it keeps until
    its end."""
    after = decided.instance
    if after.lock is None:
        return
    hold(not (after.queued and decided.sends), "the saga commands somebody before it has its lock", 46)
    told = any(isinstance(given, LockTold) and given.word == "taken" for given in inputs)
    hold(after.queued or not before.queued or told, "the saga begins without its lock", 46)
    hold(before.queued or not after.queued, "the saga has its lock no more, and has not ended", 46)
