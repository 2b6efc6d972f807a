"""`choros saga query`: what a program wants to know of a running saga."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import typer

from choros.cli.options import AppName, Output, SagaId, StoreUrl, found, log_apart
from choros.cli.output import tell_lines, tell_value
from choros.cli.view import View, looking
from choros.cli.words import seconds
from choros.roles.addresses import DEFAULT_STORE
from choros.runtime.client.account import there
from choros.runtime.client.query import SagaState, answered, check_replies, saga_state
from choros.runtime.orchestrator.recognition import recognise

NOT_ANSWERED = 3
"""The step will not reply any more: as of a saga that was undone."""


def saga_query(
    application: AppName,
    saga_id: SagaId,
    until: Annotated[str, typer.Option(metavar="STEP", help="wait until this step has replied, or never will")] = "",
    timeout: Annotated[str, typer.Option(metavar="TIME", help="how long to wait for that")] = "60s",
    store: StoreUrl = DEFAULT_STORE,
    output: Output = "table",
) -> None:
    """Tell where a saga stands: its messages, and which steps may still come.

    With --until as soon as that step has replied, while the saga goes on; exits with 3 if it never will."""
    wait = seconds(timeout)
    log_apart()

    async def look() -> SagaState:
        async with looking(application, store) as view:
            known = (await view.account(saga_id)).record.saga_id
            return await answered(partial(_state, view, known, until), until, wait)

    state = found(look(), application, store)
    if output == "table":
        tell_lines(_lines(state))
    else:
        tell_value(_as_data(state), output)
    if until and until not in state.replies:
        raise typer.Exit(NOT_ANSWERED)


async def _state(view: View, saga_id: str, until: str) -> SagaState:
    whole = await there(view.store, saga_id, whole=True)
    saga, instance = recognise(view.sagas, whole.record, None, whole.entries)
    return saga_state(check_replies(saga, until), instance)


def _lines(state: SagaState) -> Iterator[str]:
    yield f"{state.saga_id} {state.status}{', paused' if state.paused else ''}"
    yield f"start: {state.start.to_json()}"
    yield from (f"{path}: {reply.to_json()}" for path, reply in state.replies.items())
    yield from (f"updated, {name}: {update.to_json()}" for name, update in state.updates.items())
    yield "still to come:" if state.remaining else "nothing is still to come"
    for one in state.remaining:
        yield f"  {one.step} ({one.kind}){', under way' if one.begun else '' if one.sure else ', perhaps'}"


def _as_data(state: SagaState) -> dict[str, Any]:
    messages = {"start": state.start, "failure": state.failure, "result": state.result}
    told = {name: one.model_dump(mode="json") if one else None for name, one in messages.items()}
    for name, kept in (("replies", state.replies), ("updates", state.updates)):
        told[name] = {path: one.model_dump(mode="json") for path, one in kept.items()}
    remaining = [asdict(one) for one in state.remaining]
    plain = {"saga_id": state.saga_id, "status": state.status, "paused": state.paused, "parked": dict(state.parked)}
    return {**plain, **told, "remaining": remaining}
