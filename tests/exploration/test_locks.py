"""Two sagas under a lock in every interleaving: never two at once, no deadlock, and no key lost in a crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from choros import Command, Done, Lock, Message, Saga, Step
from choros.messages import Message as AnyMessage
from choros.runtime.orchestrator.lock_row import FREE, Asking, LockRow
from choros.saga.machine import machine
from choros.saga.machine.instance import Instance
from choros_verify.exploration.locks import LockWorld


class Move(Message):
    keys: str


class TakeOut(Command[Done]):
    keys: str


class PutBack(Command[Done]):
    keys: str


class PutIn(Command[Done], refusals=("full",)):
    keys: str


class TakeAway(Command[Done]):
    keys: str


def take_out(move: Move) -> TakeOut:
    return TakeOut(keys=move.keys)


def put_back(move: Move) -> PutBack:
    return PutBack(keys=move.keys)


def put_in(move: Move) -> PutIn:
    return PutIn(keys=move.keys)


def take_away(move: Move) -> TakeAway:
    return TakeAway(keys=move.keys)


STEPS = (Step(take_out, to="here", compensation=put_back), Step(put_in, to="there", compensation=take_away))


def world(*starts: str, lock: dict[str, Any] | None = None, steps: Sequence[Any] = STEPS, **more: Any) -> LockWorld:
    given: Any = {"within": timedelta(minutes=1), **(lock or {})}
    saga = Saga("move", start=Move, steps=steps, lock=Lock("place", key=lambda move: list(move.keys), **given))
    return LockWorld(saga, [Move(keys=keys) for keys in starts], **more)


CALM: dict[str, Any] = {"crashes": 0, "cancels": 0, "lapses": 0, "steps": STEPS[1:]}


def test_two_for_one_key_and_a_crash_at_any_moment() -> None:
    explored = world("a", "a", **CALM | {"crashes": 1})
    assert explored.explore() == []
    assert explored.moments > 4_000


@pytest.mark.long
@pytest.mark.parametrize(
    ("starts", "more"),
    [
        pytest.param(("a", "a"), {"crashes": 1, "lapses": 1}, marks=pytest.mark.nightly),
        pytest.param(("a", "a"), {"crashes": 1, "cancels": 1}, marks=pytest.mark.nightly),
        (("a", "a"), {"steps": STEPS}),
        (("ab", "ba"), {}),
        (("a", "a"), {"crashes": 1, "lock": {"when_taken": "refuse", "within": None}}),
    ],
)
def test_what_else_may_happen_to_them(starts: Sequence[str], more: dict[str, Any]) -> None:
    assert world(*starts, **CALM | more).explore() == []


# --- planted ---


def jumping(patch: pytest.MonkeyPatch) -> None:
    def asked(self: LockRow, saga_id: str, now: float, most: int) -> LockRow:
        if not self.holder:
            return LockRow(saga_id, now)
        if saga_id in self.named or len(self.waiting) >= most:
            return self
        return replace(self, waiting=(Asking(saga_id, now), *self.waiting))

    def without(self: LockRow, over: Any, now: float) -> LockRow:
        waiting = tuple(one for one in self.waiting if one.saga_id not in over)
        if self.holder not in over:
            return replace(self, waiting=waiting)
        return LockRow(waiting[-1].saga_id, now, waiting[:-1], handed_on=True) if waiting else FREE

    patch.setattr(LockRow, "asked", asked)
    patch.setattr(LockRow, "without", without)


def unbounded(patch: pytest.MonkeyPatch) -> None:
    asked = LockRow.asked
    patch.setattr(LockRow, "asked", lambda self, saga_id, now, most: asked(self, saga_id, now, 99))


def in_the_order_written(patch: pytest.MonkeyPatch) -> None:
    def keys_of(self: Lock, start: AnyMessage) -> tuple[str, ...]:
        return tuple(cast("tuple[str, ...]", self.key(start)))

    patch.setattr(Lock, "keys_of", keys_of)


def never_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "take_lock", lambda walk, told: None)


def nothing_is_handed_on(patch: pytest.MonkeyPatch) -> None:
    """Whoever comes by next has it, if anybody does."""

    def without(self: LockRow, over: Any, now: float) -> LockRow:
        return self if self.holder not in over or self.waiting else FREE

    patch.setattr(LockRow, "without", without)


def undone(instance: Instance) -> bool:
    return instance.terminal or instance.backward


Plant = Callable[[pytest.MonkeyPatch], None]
PLANTED = [
    pytest.param(jumping, ("a", "a", "a"), {}, "one that asked later is first", marks=pytest.mark.nightly),
    pytest.param(unbounded, ("a", "a", "a"), {"lock": {"most": 1}}, "more wait than may", marks=pytest.mark.nightly),
    (never_told, ("a",), {}, "a saga waits for ever"),
    (nothing_is_handed_on, ("a", "a"), {}, "a saga waits for ever"),
]


@pytest.mark.parametrize(("plant", "starts", "more", "words"), PLANTED)
def test_what_is_planted_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Plant, starts: Sequence[str], more: dict[str, Any], words: str
) -> None:
    plant(monkeypatch)
    found = world(*starts, **CALM | more).explore(all_of_it=False)
    assert any(words in one for one in found), found


@pytest.mark.long
def test_keys_that_are_taken_in_the_order_written_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_order_written(monkeypatch)
    [found] = world("ab", "ba", **CALM).explore()
    assert "waits for ever" in found


def test_a_lock_that_is_free_before_the_undo_is_over_is_found() -> None:
    explored = world("a", "a", **CALM | {"steps": STEPS, "is_over": undone})
    assert explored.explore(all_of_it=False) == ["two sagas have one key"]
