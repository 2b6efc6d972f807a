"""What a person may settle of a saga: what it has left standing or in doubt, or an undo at which it is parked."""

from typing import Any

from choros.errors import UsageError, with_article
from choros.messages import Message
from choros.runtime.orchestrator.start import sendable
from choros.saga.machine.inputs import SettleRequested
from choros.saga.machine.instance import Instance
from choros.saga.outline import Commanded
from choros.saga.saga import Saga
from choros.sources import fresh_id


def settling(
    saga: Saga[Any], instance: Instance, step: str | None, reply: Message | None, *, stands: bool
) -> SettleRequested:
    """The act; raises UsageError where there is nothing of that step to settle, or not so. Without a name, the only
    one is meant."""
    open_ = _open(saga, instance)
    path = next(iter(open_)) if step is None and len(open_) == 1 else step
    if path is None or path not in open_:
        hint = f"--step, one of {', '.join(open_)}." if open_ else _LOOK
        raise UsageError(_not_there(instance, step, several=bool(open_)), hint)
    state, leaf = instance.state(path), open_[path]
    doubtful = instance.terminal and state.progress == "in_doubt"
    if stands and not doubtful:
        raise UsageError(f"{path} stands already, and the saga says so.", "settle it once it is undone.")
    body = _body(leaf, path, reply, known=bool(state.reply), wanted=stands and not leaf.existing)
    return SettleRequested(fresh_id(), path, state.round, stands, body)


_LOOK = "choros saga list --unsettled."


def _open(saga: Saga[Any], instance: Instance) -> dict[str, Commanded]:
    found = {}
    for path, state in instance.nodes.items():
        leaf = saga.outline.commanded(path)
        undoing = bool(state.parked and state.leg and leaf and (leaf.existing or state.closes == "undo"))
        if leaf and (state.progress in ("standing", "in_doubt") if instance.terminal else undoing):
            found[path] = leaf
    return found


def _not_there(instance: Instance, step: str | None, *, several: bool) -> str:
    if step:
        return f"Of {step} of saga {instance.saga_id} nothing is to be settled."
    if several:
        return f"Of saga {instance.saga_id} several steps are to be settled."
    return f"Of saga {instance.saga_id} nothing is to be settled: it is {instance.status}."


def _body(leaf: Commanded, path: str, reply: Message | None, *, known: bool, wanted: bool) -> str:
    """What it replied with, if that has to be told."""
    kind = leaf.reply_of()
    if wanted and not known and type(reply) is not kind:
        raise UsageError(f"{path} stands, and nobody knows what it replied.", f"{with_article(kind)} as its reply.")
    if reply is not None and (known or not wanted):
        raise UsageError(f"Nobody asks for a reply of {path}.", "the same without one.")
    return sendable(reply) if reply else ""
