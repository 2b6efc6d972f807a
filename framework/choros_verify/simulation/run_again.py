"""Somebody runs a saga again, or lets it go on as a newer version."""

import asyncio
from typing import Any

from choros.app.app import App
from choros.errors import SagaNotFound, StoreMisconfigured, StoreUnreachable, UsageError
from choros.saga.saga import Saga
from choros.sources import rerun_id_for
from choros_verify.simulation.releases import names_between, newest, own_steps
from choros_verify.simulation.script import PersonAct

LOOK_EVERY = 20.0
"""Seconds between two looks of a person, or at what a store has forgotten."""
LOOKS = 8
"""So often somebody looks whether a saga that is to run again has ended."""


async def is_there(client: Any, saga_id: str) -> bool:
    """Whether there is such a saga; raises StoreUnreachable."""
    try:
        await client.show(saga_id)
    except SagaNotFound:
        return False
    return True


async def let_go_on(client: Any, app: App, saga: Saga[Any], saga_id: str) -> str:
    """As its newest version, with the names that differ; raises ChorosError."""
    other = newest(app, saga)
    word: str = await client.move(saga_id, other.version, rename=dict(names_between(saga, other).pairs))
    return word


async def run_again(client: Any, app: App, act: PersonAct, saga_id: str, reruns: dict[str, str]) -> str:
    """Once it has ended, if it does so soon. Whoever is not answered asks again: half of it may be done. Raises
    ChorosError."""
    for _ in range(LOOKS):
        try:
            account = await client.show(saga_id)
            if account.instance.terminal:
                return await _from_some_step(client, app, act, account, reruns)
        except (StoreUnreachable, StoreMisconfigured):
            pass
        await asyncio.sleep(LOOK_EVERY)
    raise UsageError(f"Saga {act.saga} has not ended.")


async def _from_some_step(client: Any, app: App, act: PersonAct, account: Any, reruns: dict[str, str]) -> str:
    """The first of its steps from which it may be, counted from one of them."""
    record = account.record
    if record.gone:
        raise UsageError(f"Saga {act.saga} is deleted.")
    reruns[rerun_id_for(record.saga_id)] = record.saga_id
    steps = own_steps(app.sagas[record.saga, record.saga_version])
    refused = UsageError(f"Saga {act.saga} cannot be run again.")
    for step in (*steps[act.nth % len(steps) :], *steps):
        try:
            return f"again: from {step}, as {await client.rerun(record.saga_id, step)}"
        except UsageError as why:
            refused = why
    raise refused
