"""Somebody asks for the reply of a step while the saga goes on: what is told was committed."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from choros.runtime.client import query
from choros_verify import RunPlan, Scene, plan_for
from choros_verify.simulation.early_answers import askable
from choros_verify.simulation.invention import invent
from choros_verify.simulation.script import PersonAct, ScriptLine
from choros_verify.simulation.targets import Targets
from tests.simulation.trip import app, trip_saga

SAGA = trip_saga
NTH = askable(SAGA).index("hold_room")
ASKED = RunPlan(
    seed=1,
    starts=(2.0,),
    script=(ScriptLine(0, "take_money", "do", "slow", 5.0),),
    acts=(PersonAct(2.1, 0, "query", NTH),),
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app, store="memory")


def test_the_reply_of_a_step_is_told_before_the_saga_ends(scene: Scene) -> None:
    result = scene.examine(ASKED, story=True)
    assert (result.violations, dict(result.acts)) == ((), {"query answered": 1})
    told = next(number for number, line in enumerate(result.story) if "query saga 0" in line)
    assert told < next(number for number, line in enumerate(result.story) if "completed" in line)


def test_where_it_is_refused_none_ever_comes(scene: Scene) -> None:
    hold_room = SAGA.outline.commanded("hold_room")
    assert hold_room
    refused = ScriptLine(0, "hold_room", "do", "refused", code=hold_room.refusals[0])
    result = scene.examine(replace(ASKED, script=(refused,)))
    assert (result.violations, dict(result.acts)) == ((), {"query never comes": 1})


def test_what_was_never_committed_is_found(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def invented(look: Callable[[], Awaitable[Any]], until: str) -> Any:
        hold_room = SAGA.outline.commanded(until)
        assert hold_room
        return SimpleNamespace(replies={until: invent(hold_room.reply_of())})

    monkeypatch.setattr(query, "_first", invented)
    slow = ScriptLine(0, "hold_room", "do", "slow", 5.0)
    (sentence,) = scene.examine(replace(ASKED, script=(slow,))).violations
    assert sentence.startswith("73: saga 0 told hold_room before that was committed")


def test_random_plans_ask(scene: Scene) -> None:
    setting: Targets = scene.setting
    asked = [act for seed in range(40) for act in plan_for(seed, setting).acts if act.verb == "query"]
    assert {act.nth for act in asked} <= set(range(len(askable(SAGA)))) and len(asked) > 3
