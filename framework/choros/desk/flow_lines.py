"""A flow's tree in lines that a person reads, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from choros.desk.flow_tree import (
    FactNode,
    FlowOverdue,
    FlowTree,
    ReactionNode,
    ReactionState,
    SagaNode,
    StillToCome,
    TracedStep,
)
from choros.wire.attributes import rfc3339

_MARKS: dict[ReactionState, str] = {
    "handled": "✔", "joined": "…", "waiting": "…", "late": "!", "missing": "!", "parked": "■", "unknown": "?",
    "forgotten": "·",
}  # fmt: skip
_STEP_MARKS = {"replied": "✔", "undone": "↩", "refused": "✖", "failed": "!", "timed_out": "!", "passed_over": "–"}
_STEP_WORDS = {
    "sent": "is asked", "replied": "done", "timed_out": "no answer in time", "passed_over": "nothing to undo",
    "left_in_doubt": "in doubt",
}  # fmt: skip
_DEEPER = "  "


def flow_lines(tree: FlowTree, now: float) -> Iterator[str]:
    """The tree; then what should still happen, and what could not be read."""
    yield from _nodes(tree.roots, "")
    if tree.to_come or tree.overdue:
        yield "still to happen"
        yield from (f"  {_end_of(one, now)}" for one in tree.overdue)
        yield from (f"  {_still(one, now)}" for one in tree.to_come)
    if tree.unreached:
        yield "not read"
        yield from (f"  {sentence}" for sentence in tree.unreached)


def _nodes(nodes: Iterable[FactNode | SagaNode], indent: str) -> Iterator[str]:
    for node in nodes:
        yield from _saga(node, indent) if isinstance(node, SagaNode) else _fact(node, indent)


def _fact(node: FactNode, indent: str) -> Iterator[str]:
    said = node.fact.envelope
    remarks = ["no broker has it yet"] if node.fact.leaving else []
    remarks += ["what caused it was not found"] if not indent and said.causation_id else []
    yield "  ".join([f"{indent}◇ {said.type}", node.by, _time(said.time), *remarks])
    for reaction in node.reactions:
        yield from _reaction(node, reaction, indent + _DEEPER)
    if not node.reactions:
        yield f"{indent}{_DEEPER}nobody listens"


def _reaction(of: FactNode, node: ReactionNode, indent: str) -> Iterator[str]:
    undoes = f"  takes back {node.hearer.undoes}" if node.hearer.undoes else ""
    how: str = node.standing
    if how == "handled" and node.since is not None:
        how = f"after {_took(node.since - of.fact.envelope.time)}"
    if node.standing == "handled" and node.why:
        how += f", {node.why}"
    elif node.standing == "handled" and node.hearer.answers and not node.then and not node.hearer.beside:
        how += ", and nothing is known that it published"
    yield f"{indent}{_MARKS[node.standing]} {node.hearer.name}  {how}{undoes}"
    yield from _nodes(node.then, indent + _DEEPER)


def _saga(node: SagaNode, indent: str) -> Iterator[str]:
    record = node.saga.record
    yield f"{indent}▶ saga {record.saga} {record.key}  {record.status}  {_time(record.started_at)}"
    for step in node.saga.steps:
        yield f"{indent}{_DEEPER}{_step(step)}"
    yield from _nodes(node.then, indent + _DEEPER)


def _step(step: TracedStep) -> str:
    what = step.path if step.operation == "do" else f"{step.operation} of {step.path}"
    word = _STEP_WORDS.get(step.came_to, step.came_to)
    code = f": {step.code}" if step.code else ""
    took = f"  after {_took(step.at - step.since)}" if step.at > step.since else ""
    return f"{_STEP_MARKS.get(step.came_to, '·')} {what}  {step.service}  {word}{code}{took}"


def _still(one: StillToCome, now: float) -> str:
    reaction, hearer = one.reaction, one.reaction.hearer
    since = f" since {_time(reaction.since)}, {_took(now - reaction.since)}" if reaction.since else ""
    then = f"; would publish {' or '.join(hearer.answers)}{' or nothing' if hearer.silent else ''}"
    what = f"{hearer.name}: {one.fact.type} {reaction.standing}{since}"
    return f"{_MARKS[reaction.standing]} {what}: {reaction.why}{then if hearer.answers else ''}"


def _end_of(one: FlowOverdue, now: float) -> str:
    begun = f"it began at {_time(one.began)}, {_took(now - one.began)} ago"
    return f"! flow {one.flow} {one.flow_id} has not ended within {_took(one.within)}: {begun}"


def _time(moment: float) -> str:
    return f"{rfc3339(moment)[:19]}Z"


def _took(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


# --- for programs -----------------------------------------------------------------------------------------------------


def flow_data(tree: FlowTree) -> dict[str, Any]:
    """The same for programs."""
    return {
        "flow": [_node_data(node) for node in tree.roots],
        "to_come": [
            {"subscriber": one.reaction.hearer.name, "fact": one.fact.type, "fact_id": one.fact.id}
            | _standing_data(one.reaction)
            | {"publishes": list(one.reaction.hearer.answers)}
            for one in tree.to_come
        ],
        "overdue": [
            {"flow": one.flow, "flow_id": one.flow_id, "began": rfc3339(one.began), "within": one.within}
            for one in tree.overdue
        ],
        "not_read": list(tree.unreached),
    }


def _node_data(node: FactNode | SagaNode) -> dict[str, Any]:
    return _saga_data(node) if isinstance(node, SagaNode) else _fact_data(node)


def _fact_data(node: FactNode) -> dict[str, Any]:
    said = node.fact.envelope
    return {
        "fact": said.type, "id": said.id, "by": node.by, "at": rfc3339(said.time), "stream": said.stream,
        "seq": said.seq, "causation_id": said.causation_id, "correlation_id": said.correlation_id,
        "unsent": node.fact.leaving, "found_in": list(node.fact.places),
        "reactions": [
            {"subscriber": one.hearer.name, "undoes": one.hearer.undoes}
            | _standing_data(one)
            | {"then": [_node_data(then) for then in one.then]}
            for one in node.reactions
        ],
    }  # fmt: skip


def _standing_data(node: ReactionNode) -> dict[str, Any]:
    since = None if node.since is None else rfc3339(node.since)
    return {"standing": node.standing, "since": since, "why": node.why}


def _saga_data(node: SagaNode) -> dict[str, Any]:
    record = node.saga.record
    return {
        "saga": record.saga, "saga_id": record.saga_id, "key": record.key, "status": record.status,
        "at": rfc3339(record.started_at),
        "steps": [
            {
                "step": one.path, "operation": one.operation, "service": one.service, "came_to": one.came_to,
                "code": one.code, "since": rfc3339(one.since), "at": rfc3339(one.at),
            }
            for one in node.saga.steps
        ],
        "then": [_node_data(then) for then in node.then],
    }  # fmt: skip
