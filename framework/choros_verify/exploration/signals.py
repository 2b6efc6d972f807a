"""What must hold of one decision about what a saga waits to be told."""

from collections.abc import Sequence

from choros.saga.machine.inputs import Decision, Input, SignalRequested
from choros.saga.machine.instance import DECLINED, Instance, NodeState
from choros.saga.outline import Outline
from choros.saga.paths import around
from choros_verify.exploration.times import NOW
from choros_verify.exploration.violation import hold


def signals(outline: Outline, before: Instance, decided: Decision, inputs: Sequence[Input]) -> None:
    """What a wait is told, and when it lapses."""
    after = decided.instance
    told = {given.step for given in inputs if isinstance(given, SignalRequested)}
    over = after.backward or after.terminating
    for path, state in after.nodes.items():
        hold(over or not _is_no(outline, path, state), f"the saga goes on, though {path} did not let it", 27)
        was = before.state(path)
        waits, lapses = state.progress == "awaiting", state.progress == "lapsed" != was.progress
        hold(not (waits and over), f"the saga is undone, and still waits to be told at {path}", 27)
        hold(not waits or path not in dict(after.early), f"what {path} waits for came early, and is not taken", 27)
        hold(not (waits and was.progress == "awaiting" and path in told), f"what {path} waits for is not taken", 27)
        hold(not lapses or (was.not_after or 0.0) <= NOW, f"{path} lapsed too soon", 27)
        reminded = sum(fact.step == path for fact in decided.facts) if waits else 0
        hold(
            not reminded or reminded <= state.begun - was.begun or state.round > was.round,
            f"{path} reminds somebody twice",
            13,
        )
        was_told = was.progress == "ok" and path in told
        hold(not was_told or state.reply == was.reply, f"{path} was told something else later", 27)
    for path in told if not (over or before.terminal or before.backward) else ():
        ahead = before.state(path).progress == "pending" and not _is_shut(before, path)
        kept = path in dict(after.early) or after.state(path).progress == "ok"
        hold(kept or not ahead, f"what {path} is told early is not kept", 27)
    for path, _ in before.early:
        kept = path in dict(after.early) or after.state(path).progress == "ok"
        hold(kept or over, f"what {path} was told early is lost", 27)


def _is_no(outline: Outline, path: str, state: NodeState) -> bool:
    """Whether it was told no, or nothing in time, and stands in nothing that could go another way."""
    leaf = outline.leaf(path)
    if leaf is None or around(path):
        return False
    return state.choice == DECLINED or (leaf.insists and state.progress == "lapsed" and not state.parked)


def _is_shut(instance: Instance, path: str) -> bool:
    """Whether something that it stands in is over."""
    while path := around(path):
        if instance.state(path).lost or instance.state(path).progress in ("ok", "undone"):
            return True
    return False
