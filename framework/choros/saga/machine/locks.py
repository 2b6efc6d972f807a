"""The lock of a saga: what it waits for before it begins, and what becomes of it where others have that.

The saga is there first, and takes its keys then, so that whoever finds a key taken can look whether its holder is over.
A saga that holds them holds them until it has ended: nothing here gives one back.
"""

from choros.messages import Failure, Message
from choros.saga.lock import Lock
from choros.saga.machine.inputs import LockTold
from choros.saga.machine.instance import ROOT, Instance, LockState
from choros.saga.machine.walk import SagaWalk
from choros.values import replace

ASK_AGAIN = 5.0
"""Seconds after which a saga asks for its keys once more, where nobody has told it anything: a process was killed."""
LOCKED, JOINED, NOT_HELD = "locked", "joined", "lock_not_held"
"""Codes of the failures of sagas that were never begun."""


def locked(lock: Lock, start: Message, now: float) -> LockState:
    """The state of a saga that is to take its keys for this start message; raises UsageError where it gives none."""
    keys = lock.keys_of(start)
    within = lock.within.total_seconds() if lock.within else None
    return replace(_waiting(LockState(keys, lock.when_taken, lock.most, within), now), ask_at=now + ASK_AGAIN)


def _waiting(state: LockState, now: float) -> LockState:
    """As if it began to wait now, and had to ask."""
    return replace(state, until=None if state.within is None else now + state.within, ask_at=now)


def ask_again(walk: SagaWalk) -> None:
    """One that was turned away, and was parked for that, waits once more when a person wants that, or is undone."""
    state = walk.instance.lock
    if state and not state.taken and state.until is state.ask_at is None and not walk.state(ROOT).parked:
        walk.change(lock=_waiting(state, walk.now))


def take_lock(walk: SagaWalk, told: LockTold) -> None:
    """What has come of it: the saga begins, waits, or never begins."""
    instance = walk.instance
    if instance.lock is None or not instance.queued or instance.terminal or instance.terminating:
        return
    if told.word == "taken":
        taken = replace(instance.lock, taken=True, until=None, ask_at=None, key="", holder="")
        walk.change(lock=taken)
        walk.unpark(ROOT)
        walk.note("lock_taken", code=", ".join(taken.keys))
        walk.go_on()
    elif told.word == "waiting":
        _wait(walk, instance.lock, told)
    else:
        _turn_away(walk, told)


def _wait(walk: SagaWalk, state: LockState, told: LockTold) -> None:
    if state.key != told.key:
        walk.note("queued", code=told.key)
    walk.change(lock=replace(state, ask_at=None, key=told.key, holder=told.holder))


def lock_due(walk: SagaWalk) -> None:
    """It has waited as long as it may; or nobody has answered, and whoever decides this asks once more."""
    state = walk.instance.lock
    if state is None or not walk.instance.queued:
        return
    if state.until is not None and state.until <= walk.now:
        _turn_away(walk, LockTold("refuse", state.key or state.keys[0], state.holder))
    elif state.ask_at is not None and state.ask_at <= walk.now:
        walk.change(lock=replace(state, ask_at=walk.now + ASK_AGAIN))


def _turn_away(walk: SagaWalk, told: LockTold) -> None:
    """It is over before it has begun. Where there is something to undo, that must not be done beside whoever has the
    lock: then a person has to say."""
    state = walk.instance.lock
    assert state is not None  # it is asked of those alone that have one
    said = f"{told.key} is locked by saga {told.holder}" if told.holder else f"{told.key} is locked"
    walk.change(lock=replace(state, until=None, ask_at=None, key=told.key, holder=told.holder))
    if walk.begun:
        walk.park(said, ROOT)
    elif told.word == "join":
        _join(walk, told.holder)
    else:
        walk.turn_back(Failure(code=LOCKED, detail=f"{said}."))


def _join(walk: SagaWalk, holder: str) -> None:
    """Another saga does what it was to do. Nothing was refused to anybody, so nothing is said of it."""
    failure = Failure(code=JOINED, detail=f"Saga {holder} does it.").to_json()
    walk.change(status="compensated", backward=True, failure=failure, deadline=None)
    walk.note("joined", code=holder)


def joined(instance: Instance) -> str:
    """The id of the saga that does what this one was started for; empty where that is itself, or nobody."""
    never = instance.failure and Failure.from_json(instance.failure).code == JOINED
    return instance.lock.holder if never and instance.lock else ""


def refuse_nested(walk: SagaWalk, lacking: str) -> None:
    """A nested saga never waits while the one around it may hold something: it has the keys of that, or none."""
    walk.turn_back(Failure(code=NOT_HELD, detail=f"{lacking} is not locked by the saga around it."))
