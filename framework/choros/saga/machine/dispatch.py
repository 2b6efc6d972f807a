"""Dispatch: a leaf's command goes out, and its answer is awaited from then on."""

from __future__ import annotations

from dataclasses import replace

from choros.messages import Close
from choros.saga.machine.inputs import Send
from choros.saga.machine.instance import Leg
from choros.saga.machine.turn import Turn
from choros.saga.outline import Commanded
from choros.wire.attributes import LAST_MOMENT
from choros.wire.command_key import CommandKey, Operation


def send_first(turn: Turn, leaf: Commanded, operation: Operation, command: str, closing: str = "") -> None:
    """Send a command for the first time."""
    send(turn, leaf, Leg(operation, command, attempt=1, first_at=turn.now, due=None, closing=closing))


def send(turn: Turn, leaf: Commanded, leg: Leg) -> None:
    """Send a leaf's command and await its answer; `leg` says which operation and which attempt."""
    state = turn.state(leaf.path)
    leg = replace(leg, due=turn.now + leaf.timeout.total_seconds(), waiting=False)
    not_after = state.not_after
    if leg.operation == "do" and leaf.expires:
        budget = leg.first_at + leaf.retry.total.total_seconds()
        not_after = max(not_after or 0.0, leg.due or 0.0, budget)
    if not_after is not None:  # also one that an older choros has stored
        not_after = min(not_after, LAST_MOMENT)
    began = turn.now if state.progress == "pending" else state.began
    turn.change_node(leaf.path, leg=leg, not_after=not_after, began=began)
    key = CommandKey(state.owner or turn.instance.saga_id, leaf.path, state.round, leg.operation)
    turn.send(Send(leaf.to, key, _type_name(leaf, leg), leg.command, leg.attempt, not_after, began))


def _type_name(leaf: Commanded, leg: Leg) -> str:
    if leg.operation == "close":
        return Close.type_name
    return (leaf.undo if leg.operation == "undo" and leaf.undo else leaf.action).builds.type_name
