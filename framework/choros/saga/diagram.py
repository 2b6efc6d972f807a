"""The declaration as a picture (`mermaid`) and in words (`outline`): what is commanded, and what is event-driven.

Both take the subscribers of each fact by its type name, such as `{"order-confirmed.v1": ["notifications"]}`.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from choros.messages import Message
from choros.saga.nesting import Nesting
from choros.saga.orders import FREE, IN_WORDS, UndoOrder
from choros.saga.outline import Commanded, Composite, Leaf, Loop, Outline, Publication, SagaPart
from choros.saga.parameters import Builder, DeclaredUpdate, PureFunction
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait, Sleeping

Subscribers = Mapping[str, Sequence[str]]


def mermaid(
    saga: Saga[Any], subscribers: Subscribers = MappingProxyType({}), begun_by: Sequence[type[Message]] = ()
) -> str:
    """A flowchart: commanded steps solid, with their services and undo arrows; facts dotted, to those who subscribe.
    A local step looks like a database. `begun_by` are facts that start it."""
    under = [f"under lock {saga.lock.name}"] if saga.lock else []
    lines = [f"start([{_quoted(saga.start.__name__, *under)}])", *_steps(saga)]
    lines += [f"begun_{number}>{_quoted(fact.__name__)}] -.-> start" for number, fact in enumerate(begun_by, 1)]
    outline, numbers = saga.outline, _numbers(saga)
    facts = {numbers[one.path]: [one.action] for one in outline.publications}
    facts |= {numbers[path]: list(leaf.facts) for path, leaf in outline.leaves.items() if isinstance(leaf, SignalWait)}
    facts |= {"completed": list(outline.completed), "compensated": list(outline.compensated)}
    lines += [*_facts(facts, subscribers), *_updates(outline, numbers)]
    return "\n".join(["flowchart LR", *(f"    {line}" for line in lines)]) + "\n"


class _Flow(NamedTuple):
    """Where a picture has come to: what the next node is drawn behind, each with the word on the way there, and where
    the way back of the next one that can be undone leads."""

    before: tuple[tuple[str, str], ...]
    back: tuple[str, ...]
    undo: UndoOrder
    """In which order that is undone: where nothing waits just for being older, each way back is one of its own."""


def _steps(saga: Saga[Any]) -> Iterator[str]:
    """Every step, the way forward, and the way back along those that can be undone."""
    flow = _Flow((("start", ""),), ("compensated",), saga.outline.undo)
    end = yield from _drawn(saga.outline.parts, flow, _numbers(saga))
    words = ["completed", *([saga.outline.result.builds.__name__] if saga.outline.result else [])]
    completed = f"completed([{_quoted(*words) if saga.outline.result else 'completed'}])"
    yield from (_arrow(before, word, completed) for before, word in end.before)
    order = undone_in_words(saga.outline)
    yield f"compensated([{_quoted('compensated', f'undone {order}') if order else 'compensated'}])"


def _drawn(parts: Sequence[SagaPart], flow: _Flow, numbers: Mapping[str, str]) -> Generator[str, None, _Flow]:
    for part in parts:
        if isinstance(part, Composite):
            flow = yield from _composite(part, flow, numbers)
        else:
            flow = yield from _leaf(part, flow, numbers[part.path])
    return flow


def _leaf(leaf: Leaf, flow: _Flow, this: str) -> Generator[str, None, _Flow]:
    yield _shape(this, leaf)
    commanded = leaf if isinstance(leaf, Commanded) else None
    sent, undo = _sent(commanded)
    for before, word in flow.before:
        yield _arrow(before, ": ".join(filter(None, [word, sent])), this)
    back = flow.back
    if undo:
        left = " or left standing" if commanded and commanded.skips_undo else ""
        yield from (_arrow(this, f"undo: {undo}{left}", to) for to in back)
        back = back if flow.undo in FREE else (this,)
    elif isinstance(leaf, SignalWait):
        words = [*(["declined"] if leaf.accept else []), *(["lapsed"] if leaf.lapse == "compensate" else [])]
        yield from (_arrow(this, " or ".join(words), to) for to in back if words)
    elif commanded and commanded.turns_on:
        yield from (_arrow(this, "refused", to) for to in back)
    return _Flow(((this, ""),), back, flow.undo)


def _sent(leaf: Commanded | None) -> tuple[str, str]:
    """What is sent on the way to it, and on the way back."""
    if leaf is None or leaf.existing:
        return "", _built(leaf.action) if leaf else ""
    if leaf.nests and leaf.kind == "nested":
        return _built(leaf.action), leaf.whom
    return _built(leaf.action), _built(leaf.undo) if leaf.undo else ""


def _composite(part: Composite, flow: _Flow, numbers: Mapping[str, str]) -> Generator[str, None, _Flow]:
    """A diamond, and its ways side by side; behind it they come together."""
    inside = flow._replace(undo=part.undo or flow.undo)
    if part.loop:
        return (yield from _loop(part, part.loop, inside, numbers))._replace(undo=flow.undo)
    if len(part.limbs) == 1:
        return (yield from _drawn(part.limbs[0].parts, inside, numbers))._replace(undo=flow.undo)
    this = numbers[part.path]
    yield f"{this}{{{_quoted(part.path)}}}"
    yield from (_arrow(before, word, this) for before, word in flow.before)
    ends = []
    for limb in part.limbs:
        word = limb.name if part.alternatives else ""
        ends.append((yield from _drawn(limb.parts, inside._replace(before=((this, word),)), numbers)))
    return _Flow(
        tuple(before for end in ends for before in end.before),
        tuple(dict.fromkeys(back for end in ends for back in end.back)),
        flow.undo,
    )


def _loop(part: Composite, loop: Loop, flow: _Flow, numbers: Mapping[str, str]) -> Generator[str, None, _Flow]:
    """A box around what is done again and again. The arrows stand behind it, or it would draw in where they begin."""
    lines, end = _gathered(_drawn(part.limbs[0].parts, flow, numbers))
    yield f"subgraph {numbers[part.path]}[{_quoted(loop.said)}]"
    yield from (line for line in lines if " -->" not in line)
    yield "end"
    yield from (line for line in lines if " -->" in line)
    return end


def _gathered(drawn: Generator[str, None, _Flow]) -> tuple[list[str], _Flow]:
    lines: list[str] = []
    while True:
        try:
            lines.append(next(drawn))
        except StopIteration as end:
            return lines, end.value


def _arrow(before: str, word: str, this: str) -> str:
    return f"{before} -->{f'|{_quoted(word)}|' if word else ''} {this}"


def _built(builder: Builder) -> str:
    """What a function may build, in words."""
    return " or ".join([*(kind.__name__ for kind in builder.kinds), *(["nothing"] if builder.optional else [])])


def _numbers(saga: Saga[Any]) -> Mapping[str, str]:
    return {path: f"s{number}" for number, path in enumerate(saga.outline.nodes)}


def _shape(this: str, leaf: Leaf) -> str:
    if isinstance(leaf, Sleeping):
        return f"{this}(({_quoted(leaf.path, f'sleeps {_wait(leaf)}')}))"
    if isinstance(leaf, SignalWait):
        return f"{this}(({_quoted(leaf.path, _awaited(leaf))}))"
    if not isinstance(leaf, Commanded):
        return f"{this}>{_quoted(leaf.path)}]"
    label = _quoted(leaf.path, leaf.whom)
    if leaf.local:
        return f"{this}[({label})]"
    if leaf.kind == "pivot":
        return f"{this}{{{{{label}}}}}"
    return f"{this}[[{label}]]" if leaf.nests else f"{this}[{label}]"


def _facts(facts: Mapping[str, Sequence[Builder]], subscribers: Subscribers) -> Iterator[str]:
    """Dotted: from where a fact is published, to the fact, to whoever subscribes. Nobody tracks what becomes of it."""
    numbers: dict[str, int] = {}
    for index, (origin, builder) in enumerate((o, builder) for o, builders in facts.items() for builder in builders):
        yield f"f{index}({_quoted(_built(builder))})"
        yield f"{origin} -.-> f{index}"
        for subscriber in _who(builder, subscribers):
            if subscriber not in numbers:
                numbers[subscriber] = len(numbers)
                yield f"n{numbers[subscriber]}[/{_quoted(subscriber)}/]"
            yield f"f{index} -. untracked .-> n{numbers[subscriber]}"


def _updates(outline: Outline, numbers: Mapping[str, str]) -> Iterator[str]:
    """Dotted: from what may be asked of it, to whatever is built with that."""
    for index, one in enumerate(outline.updates.values()):
        yield f"u{index}[/{_quoted(one.update.__name__)}/]"
        yield from (
            f"u{index} -.-> {to}" for to in (*map(numbers.__getitem__, one.users), *["completed"] * one.closing)
        )


def _who(builder: Builder, subscribers: Subscribers) -> Sequence[str]:
    """Who subscribes to any of what it may publish."""
    return list(dict.fromkeys(name for kind in builder.kinds for name in subscribers.get(kind.type_name, ())))


def _quoted(*lines: str) -> str:
    """Text for a label, one line under the other; nothing in it can end the label or be taken for markup."""
    codes = {ord(sign): f"#{ord(sign)};" for sign in '#"&<>;`\\'} | {ord(sign): " " for sign in "\r\n"}
    return '"' + "<br/>".join(line.translate(codes) for line in lines) + '"'


def outline(saga: Saga[Any], subscribers: Subscribers = MappingProxyType({})) -> list[str]:
    """Lines of text: which steps are commanded, and which facts anybody may react to."""
    outline = saga.outline
    order = undone_in_words(outline)
    told = f", undone {order}" if order else ""
    told += f", under the lock {saga.lock.name!r}" if saga.lock else ""
    lines = [f"saga {saga.name!r}, version {saga.version}, starts with {saga.start.__name__}{told}"]
    lines.append("commanded, in this order:")
    lines += _commanded(outline.parts, "  ")
    if outline.result:
        lines.append(f"  completed, it comes to {outline.result.builds.__name__}")
    if outline.updates:
        lines += ["may be asked, while it runs:", *(f"  {_update(one)}" for one in outline.updates.values())]
    lines.append("event-driven, tracked by nobody:")
    facts = [_fact(leaf.action, _when(saga, leaf), subscribers) for leaf in outline.publications]
    facts += [_fact(one, f"reminding of {leaf.path}", subscribers) for leaf in _waits(outline) for one in leaf.facts]
    facts += [_fact(leaf.undo, "taking it back", subscribers) for leaf in outline.publications if leaf.undo]
    facts += [_fact(builder, "when completed", subscribers) for builder in outline.completed]
    facts += [_fact(builder, "when compensated", subscribers) for builder in outline.compensated]
    return lines + [f"  {fact}" for fact in facts or ["nothing"]]


def _update(one: DeclaredUpdate) -> str:
    until = f"until {' or '.join(one.users)} has begun" if one.users else "until the end"
    return f"{one.update.__name__} ({one.function.__name__}), answered with {one.builds.__name__}, {until}"


def undone_in_words(outline: Outline) -> str:
    """In which order the saga is undone, where that is not the one that every saga is undone in."""
    return "" if outline.undo == "newest_first" else IN_WORDS[outline.undo]


def _waits(outline: Outline) -> Sequence[SignalWait]:
    return [leaf for leaf in outline.leaves.values() if isinstance(leaf, SignalWait)]


def _awaited(leaf: SignalWait) -> str:
    """What it waits for, from whom and for how long, in words."""
    limit = leaf.limit
    long = f"as long as {limit.function.__name__} says" if isinstance(limit, PureFunction) else f"for {limit}"
    accept = f", accepted if {leaf.accept.function.__name__}" if leaf.accept else ""
    about = f" about {leaf.about.function.__name__}" if leaf.about else ""
    return f"waits for {leaf.signal.__name__}{about}{f' from {leaf.by}' if leaf.by else ''}{accept}, {long}"


_LAPSES = {"compensate": "is undone", "go_on": "goes on without", "park": "waits for a person"}


def _wait(leaf: Sleeping) -> str:
    """How long, in words."""
    said = f"what {leaf.wait.function.__name__} says" if isinstance(leaf.wait, PureFunction) else str(leaf.wait)
    return f"{'until' if leaf.until else 'for'} {said}"


def _commanded(parts: Sequence[SagaPart], indent: str) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Commanded):
            yield f"{indent}{_command(part)}"
        elif isinstance(part, Sleeping):
            yield f"{indent}{part.path}: sleeps {_wait(part)}"
        elif isinstance(part, SignalWait):
            yield f"{indent}{part.path}: {_awaited(part)}; then it {_LAPSES[part.lapse]}"
        elif isinstance(part, Composite):
            said = part.loop.said if part.loop else part.kind
            undone = part.undo and f"undone {IN_WORDS[part.undo]}"
            kind = ", ".join(filter(None, (said, part.join, undone)))
            yield f"{indent}{part.path} ({kind}):"
            for limb in part.limbs:
                names = ", ".join(one.path.rpartition(".")[2] for one in limb.parts) or "nothing"
                yield from [f"{indent}  {limb.name}: {names}"] if part.alternatives else []
                yield from _commanded(limb.parts, f"{indent}  {'  ' if part.alternatives else ''}")


def _command(leaf: Commanded) -> str:
    if leaf.existing:
        return (
            f"{leaf.path}: there before the saga, undone by {_built(leaf.action)} to {leaf.to}{_else(leaf)},"
            f" timeout {leaf.timeout.total_seconds():g} s"
        )
    kind = "pivot, from here on only forward" if leaf.kind == "pivot" else leaf.kind
    if isinstance(leaf, Nesting):
        begun = f"{leaf.path}: {_built(leaf.action)} begins {leaf.whom}, version {leaf.child.version} ({kind})"
        return f"{begun}{', which the saga goes on without' if leaf.ends else ''}"
    undone = f", undone by {_built(leaf.undo)}{_else(leaf)}" if leaf.undo else ""
    refusals = ", ".join(leaf.refusals) or "nothing"
    later = f", finished from outside within {leaf.finished_within}" if leaf.finished_within else ""
    return (
        f"{leaf.path}: {_built(leaf.action)} to {leaf.to} ({kind}){undone},"
        f" timeout {leaf.timeout.total_seconds():g} s{later}, may be refused with {refusals}"
    )


def _else(leaf: Commanded) -> str:
    return ", or left standing where that fails" if leaf.skips_undo else ""


def _when(saga: Saga[Any], leaf: Publication) -> str:
    if leaf.early:
        return "early"
    if not leaf.held:
        return "after the pivot"
    return "held until the pivot" if saga.outline.pivots else "held until the end"


def _fact(builder: Builder, when: str, subscribers: Subscribers) -> str:
    names = ", ".join(_who(builder, subscribers)) or "nobody subscribes"
    return f"{_built(builder)} ({when}): {names}"
