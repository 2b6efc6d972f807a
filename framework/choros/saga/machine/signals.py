"""Signals: what a saga waits for is taken, what it will wait for is kept, and what comes too late is said to."""

from collections.abc import Iterator

from choros.saga.machine.inputs import SignalRequested
from choros.saga.machine.walk import SagaWalk
from choros.saga.paths import around
from choros.saga.waiting import SignalWait

MOST_EARLY = 64
"""Signals that are kept for waits to come, in all."""
MOST_CHARACTERS = 65_536
"""Of these signals together: they stand in the record."""


def take_signal(walk: SagaWalk, signal: SignalRequested) -> None:
    """A saga that is undone or terminated, or has ended, waits for nothing any more."""
    instance = walk.instance
    path = _meant(walk, signal.step)
    if instance.terminal or instance.terminating or instance.backward or not path:
        walk.note("too_late", signal.step, code="signal")
    elif walk.state(path).takes_signal:
        walk.unpark(path)
        walk.change_node(path, progress="ok", reply=signal.body, until=None, not_after=None)
        walk.note("signalled", path)
        walk.go_on()
    else:
        _keep(walk, path, signal.body)


def _keep(walk: SagaWalk, path: str, body: str) -> None:
    """For the one wait that it is for."""
    early = walk.instance.early
    if len(early) >= MOST_EARLY or sum(len(kept) for _, kept in early) + len(body) > MOST_CHARACTERS:
        walk.note("not_kept", path)
        return
    walk.change(early=(*early, (path, body)))
    walk.note("kept", path)


def _meant(walk: SagaWalk, step: str) -> str:
    """The path of the wait that takes it, now or later; empty where none ever will."""
    leaf = walk.outline.leaf(step)
    assert isinstance(leaf, SignalWait)  # whoever took it in has looked
    return next((one for one in _times(walk, step, leaf.carry) if _takes(walk, one)), "")


def _takes(walk: SagaWalk, path: str) -> bool:
    """Whether this wait is open, or lies ahead and nothing is kept for it."""
    state = walk.state(path)
    if state.takes_signal:
        return True
    ahead = state.progress == "pending" and not any(path == kept for kept, _ in walk.instance.early)
    return ahead and not any(_is_over(walk, one) for one in _outwards(path))


def _is_over(walk: SagaWalk, path: str) -> bool:
    """Whether a node is done with, so that the saga comes to nothing in it any more."""
    state = walk.state(path)
    return state.lost or state.progress in ("ok", "undone")


def _outwards(path: str) -> Iterator[str]:
    while path := around(path):
        yield path


def _times(walk: SagaWalk, step: str, carry: bool) -> Iterator[str]:
    """The paths that may be meant: where no index is said, this time of a `Repeat`, and with `carry` those to come."""
    loop, bracket, rest = step.partition("[]")
    if not bracket:
        yield step
        return
    now = max(0, walk.state(loop).begun - 1)
    for time in range(now, now + MOST_EARLY if carry else now + 1):
        yield from _times(walk, f"{loop}[{time}]{rest}", carry)
