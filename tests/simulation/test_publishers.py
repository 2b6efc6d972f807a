"""Services that publish in turn, in the simulated world: nothing lost, told twice, or out of its order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest

from choros.runtime.host import outbox_rows
from choros.runtime.host.service_outbox import ServiceOutbox
from choros.store.barrier import Row
from choros.values import replace
from choros_verify import Scene, campaign, plan_for
from tests.simulation import publishers


@pytest.mark.long
@pytest.mark.parametrize("own", [(), ("payment", "loyalty", "club", "mails")])
def test_no_promise_is_broken_where_services_publish(own: tuple[str, ...]) -> None:
    tally = campaign(Scene(publishers.app, own=own, store="memory"), range(1, 7))
    assert [result.violations for result in tally.failures] == []


def never_counted(patch: pytest.MonkeyPatch) -> None:
    """Each fact of a service is the first of its stream."""

    def counted(**said: object) -> Row:
        return Row(**said | ({"content": "0"} if said["state"] == "count" else {}))  # type: ignore[arg-type]

    patch.setattr(outbox_rows, "Row", counted)


def sent_by_its_process_or_never(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks for what a process has left that died behind its commit."""

    async def only_mark(self: ServiceOutbox) -> None:
        await self._facts.run(scan=False)

    patch.setattr(ServiceOutbox, "run", only_mark)


def sent_before_its_commit(patch: pytest.MonkeyPatch) -> None:
    """It is told although its transaction may come to nothing."""
    given = ServiceOutbox.open_for

    def opened(self: ServiceOutbox, *about: object) -> object:
        outbox = given(self, *about)  # type: ignore[arg-type]
        put = outbox.put

        async def put_and_send(fact: object) -> None:
            await put(fact)
            self.dispatch([replace(outbox._written[-1], after="")])

        outbox.put = put_and_send  # type: ignore[method-assign]
        return outbox

    patch.setattr(ServiceOutbox, "open_for", opened)


def test_what_is_published_of_a_rivals_sagas_is_judged_with_those() -> None:
    """They have the same services, and a store of their own."""
    scene = Scene(publishers.app, store="memory")
    plans = (plan for seed in range(100, 400) if (plan := plan_for(seed, scene.setting)).rival)
    assert [scene.examine(plan).violations for plan in islice(plans, 2)] == [()] * 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("plant", "since"), [(never_counted, 1), (sent_by_its_process_or_never, 1), (sent_before_its_commit, 181)]
)
def test_it_is_seen_where_a_rule_of_publishing_is_broken(
    plant: Callable[[pytest.MonkeyPatch], None], since: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`since`: among which seeds; of the last kind few come to it."""
    plant(monkeypatch)
    scene = Scene(publishers.app, store="memory")
    assert any(campaign(scene, range(first, first + 5)).failures for first in range(since, since + 60, 5))
