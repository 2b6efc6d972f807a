"""The declaration as a picture (`mermaid`) and in words (`outline`): what is commanded, and what is event-driven.

Both take the subscribers of each fact by its type name, such as `{"order-confirmed.v1": ["notifications"]}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from choros.saga.machine.turn import commanded
from choros.saga.nodes.steps import Pivot, Publish, Retriable, Step
from choros.saga.plan import Builder, Planned
from choros.saga.saga import Saga

Subscribers = Mapping[str, Sequence[str]]


def mermaid(saga: Saga[Any], subscribers: Subscribers = MappingProxyType({})) -> str:
    """A flowchart: commanded steps solid, with their services and undo arrows; facts dotted, to those who subscribe."""
    lines = [f"start([{_quoted(saga.start.__name__)}])", *_steps(saga)]
    facts: dict[str, list[Builder]] = {}
    for planned in saga.plan.steps:
        if isinstance(planned.node, Publish):
            facts[f"s{planned.index}"] = [planned.action]
    facts |= {"completed": list(saga.plan.completed), "compensated": list(saga.plan.compensated)}
    lines += _facts(facts, subscribers)
    return "\n".join(["flowchart LR", *(f"    {line}" for line in lines)]) + "\n"


def _steps(saga: Saga[Any]) -> Iterator[str]:
    """Every step, the way forward, and the way back along those that can be undone."""
    before, back = "start", "compensated"
    for planned in saga.plan.steps:
        this = f"s{planned.index}"
        yield _shape(this, planned)
        label = "" if isinstance(planned.node, Publish) else f"|{_quoted(planned.action.builds.__name__)}|"
        yield f"{before} -->{label} {this}"
        if isinstance(planned.node, Step) and planned.undo:
            yield f"{this} -->|{_quoted('undo: ' + planned.undo.builds.__name__)}| {back}"
            back = this
        if isinstance(planned.node, Pivot):
            yield f"{this} -->|{_quoted('refused')}| {back}"
        before = this
    yield f"{before} --> completed([completed])"
    yield "compensated([compensated])"


def _shape(this: str, planned: Planned) -> str:
    if isinstance(planned.node, Publish):
        return f"{this}>{_quoted(planned.name)}]"
    label = _quoted(planned.name, planned.node.to)
    return f"{this}{{{{{label}}}}}" if isinstance(planned.node, Pivot) else f"{this}[{label}]"


def _facts(facts: Mapping[str, Sequence[Builder]], subscribers: Subscribers) -> Iterator[str]:
    """Dotted: from where a fact is published, to the fact, to whoever subscribes. Nobody tracks what becomes of it."""
    numbers: dict[str, int] = {}
    for index, (origin, builder) in enumerate((o, builder) for o, builders in facts.items() for builder in builders):
        yield f"f{index}({_quoted(builder.builds.__name__)})"
        yield f"{origin} -.-> f{index}"
        for subscriber in subscribers.get(builder.builds.type_name, ()):
            if subscriber not in numbers:
                numbers[subscriber] = len(numbers)
                yield f"n{numbers[subscriber]}[/{_quoted(subscriber)}/]"
            yield f"f{index} -. untracked .-> n{numbers[subscriber]}"


def _quoted(*lines: str) -> str:
    """Text for a label, one line under the other; nothing in it can end the label or be taken for markup."""
    codes = {ord(sign): f"#{ord(sign)};" for sign in '#"&<>;`\\'} | {ord(sign): " " for sign in "\r\n"}
    return '"' + "<br/>".join(line.translate(codes) for line in lines) + '"'


def outline(saga: Saga[Any], subscribers: Subscribers = MappingProxyType({})) -> list[str]:
    """Lines of text: which steps are commanded, and which facts anybody may react to."""
    steps = saga.plan.steps
    lines = [f"saga {saga.name!r}, version {saga.version}, starts with {saga.start.__name__}"]
    lines.append("commanded, in this order:")
    lines += [f"  {_command(planned)}" for planned in steps if not isinstance(planned.node, Publish)]
    lines.append("event-driven, tracked by nobody:")
    facts = [_fact(planned.action, _when(saga, planned), subscribers) for planned in steps if _publishes(planned)]
    facts += [
        _fact(planned.undo, "taking it back", subscribers) for planned in steps if _publishes(planned) and planned.undo
    ]
    facts += [_fact(builder, "when completed", subscribers) for builder in saga.plan.completed]
    facts += [_fact(builder, "when compensated", subscribers) for builder in saga.plan.compensated]
    return lines + [f"  {fact}" for fact in facts or ["nothing"]]


def _publishes(planned: Planned) -> bool:
    return isinstance(planned.node, Publish)


def _command(planned: Planned) -> str:
    node = commanded(planned)
    kind = {Step: "step", Pivot: "pivot, from here on only forward", Retriable: "retriable"}[type(node)]
    undone = f", undone by {planned.compensation.__name__}" if planned.compensation else ""
    refusals = ", ".join(planned.command.refusals) or "nothing"
    return (
        f"{planned.name}: {planned.command.__name__} to {node.to} ({kind}){undone},"
        f" timeout {node.timeout.total_seconds():g} s, may be refused with {refusals}"
    )


def _when(saga: Saga[Any], planned: Planned) -> str:
    if isinstance(planned.node, Publish) and planned.node.early:
        return "early"
    if saga.plan.pivot is None:
        return "held until the end"
    return "held until the pivot" if planned.index < saga.plan.pivot else "after the pivot"


def _fact(builder: Builder, when: str, subscribers: Subscribers) -> str:
    names = ", ".join(subscribers.get(builder.builds.type_name, ())) or "nobody subscribes"
    return f"{builder.builds.__name__} ({when}): {names}"
