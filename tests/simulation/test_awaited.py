"""Sagas that wait for facts, in a world where processes die and stores do not answer: each hears of its fact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import pytest

from choros.app.awaited_fact import AwaitedFact, label_of
from choros.messages import Fact
from choros.runtime.orchestrator.kept_facts import KeptFacts
from choros.runtime.orchestrator.work import Work
from choros.saga.nodes.wait import WaitNode
from choros.store.sagas import Loaded
from choros.wire.envelope import Envelope
from choros_verify import RunPlan, Scene, campaign
from choros_verify.simulation.script import StoreKind
from tests.simulation.awaited import STARTS, app

Plant = Callable[[pytest.MonkeyPatch], None]
REAL = [kind for kind in get_args(StoreKind) if kind != "memory"]
STARTED = {"waits first": (0.0, 0.0), "is paid before it waits": (9.0, 0.0), "waits long": (0.0, 9.0)}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(app, starts=STARTS)


def ends(scene: Scene, starts: tuple[float, float], store: StoreKind = "memory") -> dict[str, int]:
    result = scene.examine(RunPlan(seed=1, starts=starts, store=store))
    assert result.violations == ()
    return dict(result.statuses)


@pytest.mark.parametrize("store", ["memory", *(pytest.param(kind, marks=pytest.mark.long) for kind in REAL)])
@pytest.mark.parametrize("starts", STARTED.values(), ids=STARTED)
def test_whichever_is_first(scene: Scene, starts: tuple[float, float], store: StoreKind) -> None:
    assert ends(scene, starts, store) == {"completed": 2}


@pytest.mark.long
def test_whatever_strikes_them_they_keep_every_promise(scene: Scene) -> None:
    tally = campaign(scene, range(1, 31))
    assert [(result.plan.seed, result.violations) for result in tally.failures] == []


# --- planted ----------------------------------------------------------------------------------------------------------


def not_kept(patch: pytest.MonkeyPatch) -> None:
    """What comes before anybody waits for it is only told to those that wait."""

    async def take(self: KeptFacts, awaited: AwaitedFact, fact: Fact, envelope: Envelope) -> None:
        async for works in self._untold(label_of(envelope.type, awaited.about(fact, "")), envelope):
            for work in works:
                await self._ask(work)

    patch.setattr(KeptFacts, "take", take)


def not_looked_for(patch: pytest.MonkeyPatch) -> None:
    """Who comes to wait does not look what is kept."""

    async def look(
        self: KeptFacts, asked: Mapping[str, list[Work]], loaded: Mapping[str, Loaded]
    ) -> Mapping[str, Sequence[Work]]:
        return asked

    patch.setattr(KeptFacts, "look", look)


def looked_for_later(patch: pytest.MonkeyPatch) -> None:
    """Its time does not come at once, so nobody looks before its end."""
    real = WaitNode._begin

    def begin(self: WaitNode, turn: Any) -> None:
        real(self, turn)
        turn.change_node(self.path, until=turn.state(self.path).not_after)

    patch.setattr(WaitNode, "_begin", begin)


def told_to_nobody(patch: pytest.MonkeyPatch) -> None:
    """It is kept, and those that wait already are not told."""

    async def take(self: KeptFacts, awaited: AwaitedFact, fact: Fact, envelope: Envelope) -> None:
        await self._keep(awaited, label_of(envelope.type, awaited.about(fact, "")), envelope)

    patch.setattr(KeptFacts, "take", take)


PLANTED = [
    (not_kept, "is paid before it waits"),
    (not_looked_for, "is paid before it waits"),
    (looked_for_later, "is paid before it waits"),
    (told_to_nobody, "waits long"),
]


@pytest.mark.parametrize(("plant", "order"), PLANTED)
def test_what_would_lose_it_is_noticed(scene: Scene, monkeypatch: pytest.MonkeyPatch, plant: Plant, order: str) -> None:
    plant(monkeypatch)
    result = scene.examine(RunPlan(seed=1, starts=STARTED[order]))
    assert dict(result.statuses) != {"completed": 2} or result.violations
