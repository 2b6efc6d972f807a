"""The checks of a choreography among what else an application has: who takes part, who hears, and which sagas join."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from choros.app.choreography import Choreography
from choros.app.flow_outline import FlowReaction
from choros.app.flow_reactions import Reacting, reactions_of
from choros.errors import DeclarationError
from choros.messages import Fact, Message
from choros.saga.outline import Outline, Publication
from choros.saga.waiting import SignalWait


def check_neighbours(
    flow: Choreography[Any], heard: Mapping[str, Collection[type[Fact]]], sagas: Sequence[tuple[str, Outline]]
) -> None:
    """Raises DeclarationError; `heard` is what each service or start reacts to, by its name; `sagas` are named too."""
    for reaction in flow.reactions:
        _check_takes_part(flow, reaction, heard.get(reaction.service))
    listening: set[type[Message]] = {fact for facts in heard.values() for fact in facts}
    listening |= {leaf.signal for _, outline in sagas for leaf in _waits(outline)}
    for fact in flow.facts:
        if fact not in (*flow.ends, *listening):
            sentence = f"choreography {flow.name!r}: nobody handles {fact.__name__}, and it is no end of it."
            raise DeclarationError(sentence, f"@service.on({fact.__name__}), or leave it out of publishes=.")
    for name, outline in sagas:
        _check_begun(flow, name, outline)
        _check_awaited(flow, name, outline)


def check_alike(flow: Choreography[Any], services: Mapping[str, Reacting]) -> None:
    """Raises DeclarationError where a service does something else than the one of its name that the flow was declared
    with: that may have signatures only, where services are deployed on their own."""
    for reaction in flow.reactions:
        mine = reactions_of([services[reaction.service]])
        if mine and _declared(reaction) not in map(_declared, mine):
            on = " and ".join(fact.__name__ for fact in reaction.hears)
            sentence = f"choreography {flow.name!r} has {reaction.said} on {on}, and the service does something else."
            raise DeclarationError(sentence, "declare both alike: all_of(), publishes=, undoes=, effect=.")


def _declared(reaction: FlowReaction) -> tuple[object, ...]:
    return reaction.hears, {*reaction.tells}, reaction.undoes, reaction.effect


def _check_takes_part(flow: Choreography[Any], reaction: FlowReaction, heard: Collection[type[Fact]] | None) -> None:
    """Whoever the flow needs must be there, or its facts would wait for nobody."""
    if heard is None or not {*reaction.hears} <= {*heard}:
        lacks = "is no part of" if heard is None else f"does not hear {reaction.hears[0].__name__} in"
        raise DeclarationError(
            f"choreography {flow.name!r} needs {reaction.said}, and service {reaction.service!r} {lacks} this"
            " application.",
            "name the same service in App(services=...).",
        )


def _check_begun(flow: Choreography[Any], saga: str, outline: Outline) -> None:
    """What a saga begins before its pivot may still be undone, and with it the flow."""
    for leaf in outline.publications:
        if flow.start not in leaf.action.kinds or not (leaf.held or leaf.early):
            continue
        sentence = f"saga {saga!r}: {leaf.path} begins choreography {flow.name!r} before the pivot"
        if not leaf.early:
            hint = "publish it behind the pivot, or Publish(..., early=True, retraction=...)."
            raise DeclarationError(f"{sentence}, and nothing would take that back.", hint)
        _check_retracted(flow, sentence, leaf)


def _check_retracted(flow: Choreography[Any], sentence: str, leaf: Publication) -> None:
    taken_back = leaf.undo.kinds if leaf.undo else ()
    if flow.retraction not in taken_back:
        told = taken_back[0].__name__ if taken_back else "the retraction"
        raise DeclarationError(
            f"{sentence}, and takes that back by {told}, which the flow does not know.",
            f"Choreography(..., retraction={told}).",
        )


def _check_awaited(flow: Choreography[Any], saga: str, outline: Outline) -> None:
    """What a saga goes on with before its pivot must not be undone by the flow behind its back."""
    leaves = list(outline.leaves)
    last = max((leaves.index(pivot) for pivot in outline.pivots), default=len(leaves))
    for leaf in _waits(outline):
        fact: Any = leaf.signal
        if fact not in flow.facts or fact in flow.ends or leaves.index(leaf.path) > last:
            continue
        if not flow.outline.leads_to(fact).isdisjoint(flow.bad):
            sentence = f"saga {saga!r}: {leaf.path} waits for {fact.__name__}, after which choreography {flow.name!r}"
            hint = f"wait for {' or '.join(end.__name__ for end in flow.ends)}, or behind the pivot."
            raise DeclarationError(f"{sentence} may still end badly.", hint)


def _waits(outline: Outline) -> Iterable[SignalWait]:
    return [leaf for leaf in outline.leaves.values() if isinstance(leaf, SignalWait)]
