"""A choreography as a picture (`flow_mermaid`) and in words (`flow_lines`): who says what, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from choros.app.choreography import Choreography
from choros.app.flow_outline import FactType, FlowOutline, FlowReaction, named


def flow_lines(flow: Choreography[Any]) -> Sequence[str]:
    """In words: each reaction with what it hears, says, and takes back; and how the flow ends."""
    outline = flow.outline
    within = f", within {flow.within}" if flow.within else ""
    lines = [f"choreography {flow.name}, version {flow.version}: begun by {flow.start.__name__}{within}"]
    lines += [f"  {line}" for line in _said(outline)]
    lines.append(f"  it ends well with {named(flow.good)}, as {flow.closer} says")
    if flow.bad:
        lines.append(f"  it ends badly with {named(flow.bad)}, with nothing left standing")
    if flow.retraction:
        lines.append(f"  it is taken back by {flow.retraction.__name__}, whatever it came to")
    return lines


def _said(outline: FlowOutline) -> Iterator[str]:
    for reaction, heard in _gathered(outline):
        hears = " or ".join(" and ".join(fact.__name__ for fact in facts) for facts in heard)
        undoes = f" takes back what it did about {reaction.undoes.__name__}" if reaction.undoes else ""
        says = named(fact for fact in outline.yeses(reaction) if fact) or "nothing"
        noes = outline.noes(reaction)
        no = f", or {named(noes)} in place of its effect" if noes else ""
        gives_up = f", or {reaction.gives_up.__name__} when it gives up" if reaction.gives_up else ""
        yield f"{reaction.said} on {hears}{undoes}: says {says}{no}{gives_up}"


def _gathered(outline: FlowOutline) -> Sequence[tuple[FlowReaction, list[tuple[FactType, ...]]]]:
    """Each function once, with all that it is called for."""
    found: dict[object, tuple[FlowReaction, list[tuple[FactType, ...]]]] = {}
    for reaction in outline.reactions:
        found.setdefault((reaction.service, reaction.function), (reaction, []))[1].append(reaction.hears)
    return list(found.values())


def flow_mermaid(flow: Choreography[Any]) -> str:
    """A flowchart: facts as flags, with dotted arrows to who hears them; what takes something back is said so."""
    outline = flow.outline
    numbers = {fact: f"f{number}" for number, fact in enumerate(outline.facts)}
    lines = [_fact(outline, fact, numbers[fact]) for fact in outline.facts]
    for number, (reaction, heard) in enumerate(_gathered(outline)):
        lines.append(f'r{number}["{reaction.service}<br/>{reaction.name}"]')
        undo = f"|undo of {reaction.undoes.__name__}|" if reaction.undoes else ""
        joined = [(fact, "|with others|" if len(facts) > 1 else undo) for facts in heard for fact in facts]
        lines += [f"{numbers[fact]} -.->{word} r{number}" for fact, word in joined]
        lines += [f"r{number} --> {numbers[fact]}" for fact in dict.fromkeys(reaction.tells)]
    return "\n".join(["flowchart LR", *(f"    {line}" for line in lines)]) + "\n"


def _fact(outline: FlowOutline, fact: FactType, number: str) -> str:
    if fact in outline.good or fact in outline.bad or fact is outline.start:
        return f'{number}(["{fact.__name__}"])'
    return f'{number}>"{fact.__name__}"]'
