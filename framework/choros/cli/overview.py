"""`choros saga list`: which sagas there are, where each is, and why."""

from math import inf
from typing import Annotated, Any

import typer

from choros.cli.options import OfStatus, Output, StoreUrl, log_apart, run_until_done
from choros.cli.output import Column, age, field, remark, status_colour, tell_rows
from choros.cli.view import MaybeApp, looking
from choros.cli.words import moment
from choros.desk.overview import Overview, Summary, WantedSagas, overview
from choros.roles.addresses import DEFAULT_STORE
from choros.runtime.orchestrator.retention import warning
from choros.wire.attributes import rfc3339


def columns(now: float) -> list[Column]:
    """Of a list, which says how old each is at this moment."""
    return [
        Column("ID", field("saga_id"), least=8, id=True),
        Column("KEY", field("key"), least=6),
        Column("SAGA", field("saga"), least=5),
        Column("VER", field("version")),
        Column("STATUS", field("status"), colour=status_colour),
        Column("STEP", field("step"), least=8),
        Column("REASON", field("reason"), least=10),
        Column("PAUSED", lambda row: "paused" if row["paused"] else "", colour=lambda _: "yellow"),
        Column("AGE", field("started"), shown=age("started", now)),
    ]


StartedBefore = Annotated[
    str, typer.Option("--older-than", metavar="AGE", help="started before: 2h, 7d, or 2026-11-22T12:00")
]
StartedSince = Annotated[
    str, typer.Option("--newer-than", metavar="AGE", help="started since: 2h, 7d, or 2026-11-22T12:00")
]


def saga_list(
    application: MaybeApp,
    status: OfStatus = "",
    saga: Annotated[str, typer.Option(metavar="NAME", help="one saga only")] = "",
    step: Annotated[str, typer.Option(metavar="NAME", help="at this step")] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="with this in the reason why it waits or is undone")] = "",
    version: Annotated[int | None, typer.Option(metavar="N", help="of this version of its saga")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="only those that are paused")] = False,
    unsettled: Annotated[
        bool, typer.Option("--unsettled", help="only those that left something standing or in doubt")
    ] = False,
    older: StartedBefore = "",
    newer: StartedSince = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="how many at most")] = 50,
    store: StoreUrl = DEFAULT_STORE,
    output: Output = "table",
) -> None:
    """List saga instances, the last started first; with --unsettled by their ids.

    Status, saga, age and --unsettled cost nothing. For the other filters up to 10,000 sagas are read; where it ends it
    says so."""
    log_apart()

    async def find() -> tuple[Overview, float, str]:
        async with looking(application, store) as view:
            now, name = view.store.now(), await view.saga_named(saga)
            before = moment(older, now, "--older-than") if older else inf
            since = moment(newer, now, "--newer-than") if newer else 0.0
            wanted = WantedSagas(
                saga=name, status=status, step=step, reason=reason, version=version, paused=paused,
                unsettled=unsettled,
                since=since, before=before,
            )  # fmt: skip
            seen = await overview(view.sagas, view.store, wanted, limit)
            whole = not seen.more and seen.ended_at is None
            return seen, now, warning(await view.store.forgotten(), since) if whole else ""

    seen, now, beyond = run_until_done(find())
    tell_rows([row_of(one) for one in seen.found], columns(now), output, none="no saga instances")
    _tell_rest(seen, limit, beyond)


def row_of(one: Summary) -> dict[str, Any]:
    """As JSON; `stuck` only where it is."""
    record = one.record
    row = {
        "saga_id": record.saga_id,
        "key": record.key,
        "saga": record.saga,
        "version": record.saga_version,
        "status": record.status,
        "step": one.step,
        "reason": one.reason,
        "paused": one.paused,
        "started": rfc3339(record.started_at),
        "updated": rfc3339(record.updated_at),
    }
    left = {"left_standing": list(one.left_standing)} if one.left_standing else {}
    return row | left | ({"stuck": one.stuck} if one.stuck else {})


def _tell_rest(seen: Overview, limit: int, beyond: str) -> None:
    if seen.more:
        remark(f"! there are more than these {limit}; --limit {limit * 10} shows more")
    elif seen.ended_at is not None:
        remark(f"! looked no further; --older-than {rfc3339(seen.ended_at)} goes on from there")
    elif beyond:
        remark(f"! {beyond}")
