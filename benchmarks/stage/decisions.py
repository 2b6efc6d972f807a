"""What the orchestrator decides, and what it makes of that for its store."""

from __future__ import annotations

from benchmarks.pattern import APP, NAMESPACE, Decided, Pattern
from benchmarks.stage.stage import PART, Stage, each
from choros.runtime.orchestrator.replies import judge
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Start
from choros.saga.machine.inputs import Answered
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin, decide
from choros.transport.topology import Names
from choros.wire.envelope import Envelope

_saga = APP.saga("order")


def decision_stages(pattern: Pattern) -> list[Stage]:
    """From the work on a saga and its record to the transition."""
    queue = Names(NAMESPACE).reply_queue("order")
    make = Transitions(APP, lambda: queue).make
    first, *later = pattern.decisions
    return [
        each("decision on a start", 1, 50, lambda one: make(one.works, one.loaded, 0.0), [first]),
        each("decision on a reply", 3, 60, lambda one: make(one.works, one.loaded, 0.0), later),
    ]


def machine_stages(pattern: Pattern) -> list[Stage]:
    """What a decision consists of, without the words for it."""
    first, *later = pattern.decisions
    instances = [Instance.loads(one.transition.record.state) for one in pattern.decisions]
    answered = list(zip(instances, map(_answered, pattern.replies), strict=False))
    return [
        each("machine: begin", 1, 20, _begin, [first], of=PART),
        each("machine: decide", 3, 25, lambda one: decide(_saga.tree, one[0], [one[1]], 0.0), answered, of=PART),
        each("state to text", 4, 4, Instance.dumps, instances, of=PART),
        each("text to state", 0, 4, lambda one: Instance.loads(one.loaded.record.state), later, of=PART),
    ]


def _answered(reply: Envelope) -> Answered:
    return judge(_saga, (1,), reply)


def _begin(one: Decided) -> None:
    start = one.works[0].given
    assert isinstance(start, Start)
    begin(_saga.tree, one.works[0].saga_id, start.body, 0.0, cause=start.id)
