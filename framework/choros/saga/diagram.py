"""The declaration as a picture (`mermaid`) and in words (`outline`): what is commanded, and what is event-driven.

Both take the subscribers of each fact by its type name, such as `{"order-confirmed.v1": ["notifications"]}`.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from choros.saga.outline import Commanded, Leaf, Publication, Sleeping
from choros.saga.parameters import Builder, PureFunction
from choros.saga.saga import Saga

Subscribers = Mapping[str, Sequence[str]]


def mermaid(saga: Saga[Any], subscribers: Subscribers = MappingProxyType({})) -> str:
    """A flowchart: commanded steps solid, with their services and undo arrows; facts dotted, to those who subscribe."""
    lines = [f"start([{_quoted(saga.start.__name__)}])", *_steps(saga)]
    outline, numbers = saga.outline, _numbers(saga)
    facts = {numbers[one.path]: [one.action] for one in outline.publications}
    facts |= {"completed": list(outline.completed), "compensated": list(outline.compensated)}
    lines += _facts(facts, subscribers)
    return "\n".join(["flowchart LR", *(f"    {line}" for line in lines)]) + "\n"


def _steps(saga: Saga[Any]) -> Iterator[str]:
    """Every step, the way forward, and the way back along those that can be undone."""
    before, back, numbers = "start", "compensated", _numbers(saga)
    for path, leaf in saga.outline.leaves.items():
        this = numbers[path]
        yield _shape(this, leaf)
        commanded = saga.outline.commanded(path)
        yield f"{before} -->{f'|{_quoted(commanded.command.__name__)}|' if commanded else ''} {this}"
        if commanded and commanded.undo:
            yield f"{this} -->|{_quoted('undo: ' + commanded.undo.builds.__name__)}| {back}"
            back = this
        elif commanded and commanded.turns_on:
            yield f"{this} -->|{_quoted('refused')}| {back}"
        before = this
    ended = f"completed([{_quoted('completed', saga.outline.result.builds.__name__)}])" if saga.outline.result else ""
    yield f"{before} --> {ended or 'completed([completed])'}"
    yield "compensated([compensated])"


def _numbers(saga: Saga[Any]) -> Mapping[str, str]:
    return {path: f"s{number}" for number, path in enumerate(saga.outline.leaves)}


def _shape(this: str, leaf: Leaf) -> str:
    if isinstance(leaf, Sleeping):
        return f"{this}(({_quoted(leaf.path, f'sleeps {_wait(leaf)}')}))"
    if not isinstance(leaf, Commanded):
        return f"{this}>{_quoted(leaf.path)}]"
    label = _quoted(leaf.path, leaf.to)
    return f"{this}{{{{{label}}}}}" if leaf.kind == "pivot" else f"{this}[{label}]"


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
    outline = saga.outline
    lines = [f"saga {saga.name!r}, version {saga.version}, starts with {saga.start.__name__}"]
    lines.append("commanded, in this order:")
    lines += [f"  {line}" for leaf in outline.leaves.values() if (line := _in_order(leaf))]
    if outline.result:
        lines.append(f"  completed, it comes to {outline.result.builds.__name__}")
    lines.append("event-driven, tracked by nobody:")
    facts = [_fact(leaf.action, _when(saga, leaf), subscribers) for leaf in outline.publications]
    facts += [_fact(leaf.undo, "taking it back", subscribers) for leaf in outline.publications if leaf.undo]
    facts += [_fact(builder, "when completed", subscribers) for builder in outline.completed]
    facts += [_fact(builder, "when compensated", subscribers) for builder in outline.compensated]
    return lines + [f"  {fact}" for fact in facts or ["nothing"]]


def _in_order(leaf: Leaf) -> str:
    if isinstance(leaf, Sleeping):
        return f"{leaf.path}: sleeps {_wait(leaf)}"
    return _command(leaf) if isinstance(leaf, Commanded) else ""


def _wait(leaf: Sleeping) -> str:
    """How long, in words."""
    said = f"what {leaf.wait.function.__name__} says" if isinstance(leaf.wait, PureFunction) else str(leaf.wait)
    return f"{'until' if leaf.until else 'for'} {said}"


def _command(leaf: Commanded) -> str:
    kind = "pivot, from here on only forward" if leaf.kind == "pivot" else leaf.kind
    undone = f", undone by {leaf.compensation.__name__}" if leaf.compensation else ""
    refusals = ", ".join(leaf.command.refusals) or "nothing"
    return (
        f"{leaf.path}: {leaf.command.__name__} to {leaf.to} ({kind}){undone},"
        f" timeout {leaf.timeout.total_seconds():g} s, may be refused with {refusals}"
    )


def _when(saga: Saga[Any], leaf: Publication) -> str:
    if leaf.early:
        return "early"
    if not leaf.held:
        return "after the pivot"
    return "held until the pivot" if saga.outline.pivot else "held until the end"


def _fact(builder: Builder, when: str, subscribers: Subscribers) -> str:
    names = ", ".join(subscribers.get(builder.builds.type_name, ())) or "nobody subscribes"
    return f"{builder.builds.__name__} ({when}): {names}"
