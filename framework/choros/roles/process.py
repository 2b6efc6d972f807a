"""A process that runs one role until it is stopped, and says how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from choros.app.app import App
from choros.app.settings import NOTHING_SET, Settings
from choros.roles.addresses import Addresses
from choros.roles.http_face import HttpPlace, facing_http, of_extra
from choros.roles.roles import OnBegun, RunningRole, open_role, run_together, stop_all
from choros.runtime.host.vitals import Vitals
from choros.runtime.host.watchdog import watching
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber

if TYPE_CHECKING:
    from choros.roles.metrics import Metrics


async def run_role(
    app: App,
    role: str,
    addresses: Addresses,
    *,
    health_file: Path | None = None,
    http: HttpPlace | None = None,
    settings: Settings = NOTHING_SET,
    begun: OnBegun = lambda *_: None,
) -> None:
    """Run a role until it is stopped: `orchestrator`, `service:NAME`, `subscriber:NAME`, `foreign:NAME` or `all`.

    Signals are the affair of whoever has the process: once the role is open, `begun` is told how to stop it.
    `settings` go before those of each service.

    Every few seconds it writes to `health_file`, if given, how it is; `choros health FILE` reads that. At `http`, if
    given, it answers a supervisor and Prometheus; raises UsageError where nothing can listen there."""
    vitals = Vitals(role, path=health_file)
    async with AsyncExitStack() as stack:
        metrics = _metrics_of(app, vitals) if http else None
        if http and metrics:
            await stack.enter_async_context(facing_http(http, vitals, metrics))
        stack.push_async_callback(_end, asyncio.create_task(vitals.run()))
        parts = await open_role(app, role, addresses, stack, vitals, settings)
        vitals.receivers = parts
        if metrics:
            metrics.attach(parts)
        begun(partial(_stop_soon, parts, vitals), partial(_unfinished, parts))
        async with watching(app.services.values()):
            await run_together(parts)


def _metrics_of(app: App, vitals: Vitals) -> Metrics:
    with of_extra():
        from choros.roles.metrics import Metrics
    return Metrics(app, vitals)


async def _end(watching: asyncio.Task[None]) -> None:
    watching.cancel()
    await asyncio.wait({watching})


def longest_drain(app: App, settings: Settings) -> float:
    """How many seconds what is under way may take when a role of it stops."""
    return max(
        [settings.seconds("drain"), *(settings.over(s.settings).seconds("drain") for s in app.services.values())]
    )


def _stop_soon(parts: list[RunningRole], vitals: Vitals) -> None:
    vitals.stopping = True
    stopping = asyncio.ensure_future(stop_all(parts))
    _stopping.add(stopping)
    stopping.add_done_callback(_stopping.discard)


_stopping: set[asyncio.Future[None]] = set()
"""Held here until they have ended: the loop holds its tasks only weakly."""


def _unfinished(parts: Sequence[RunningRole]) -> Sequence[str]:
    calls = [part.calls for part in parts if isinstance(part, (Participant, Subscriber))]
    return [name for one in calls for name in one.unfinished]
