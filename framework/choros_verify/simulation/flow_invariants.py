"""What must hold of flows that nobody orchestrates, in every run: read from the services' ledgers and outboxes, and
from the broker's books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from choros.app.choreography import Choreography
from choros.app.flow_outline import FactType
from choros.messages import Fact
from choros.wire.envelope import Envelope
from choros_verify.simulation.evidence import Evidence
from choros_verify.simulation.staged_flows import REACTED, WITHDREW, FlowPiece
from choros_verify.simulation.strangers import FORGED

_BEYOND = ("empty", "lose")
"""Faults after which facts have to be put out again by hand."""
FlowEnd = str
"""`ended well`, `ended badly`, `parked`, or `goes on`."""


def in_flows(run: Evidence, service: str) -> set[type[Fact]]:
    """The facts about which this service does something in a flow."""
    reactions = (one for flow in run.app.choreographies.values() for one in flow.reactions)
    return {fact for one in reactions if one.service == service for fact in one.hears}


def flow_violations(run: Evidence) -> Iterator[str]:
    """31. A flow comes to one end; 30. a bad one leaves nothing; 1. nothing is done twice, 39. or too soon; 28. nothing
    is told that no commit let go."""
    if not run.flows or run.were("lose"):
        return
    for flow_id, flow in run.flows.items():
        told = _told(run, flow_id)
        yield from _one_end(run, flow_id, flow, told)
        yield from _done_once(run, flow_id)
        yield from _not_too_soon(run, flow_id, flow, told)
        if flow_id in run.begun and run.quiet and not run.were(*_BEYOND) and not _unheard(run, told):
            yield from _over(run, flow_id, flow, told)
    yield from _committed(run)
    yield from _parked_rightly(run)


def ends_of_flows(run: Evidence) -> Iterator[FlowEnd]:
    """How far each flow of the run has come."""
    for flow_id, flow in run.flows.items():
        kinds = {one.type for one in _told(run, flow_id)}
        if kinds & {one.type_name for one in flow.good}:
            yield "ended well"
        elif kinds & {one.type_name for one in flow.bad}:
            yield "ended badly"
        else:
            yield "parked" if flow_id in _parked(run) else "goes on"


def _told(run: Evidence, flow_id: str) -> Sequence[Envelope]:
    return [fact for fact in run.facts.values() if fact.flow_id == flow_id]


def _parked(run: Evidence) -> set[str]:
    return {run.flow_of(message) for message in run.parked}


def _unheard(run: Evidence, told: Sequence[Envelope]) -> bool:
    """Whether the broker said of one of its facts that no queue takes it: it counts as sent, and is to be put out again
    by hand (20)."""
    returned = {one.message for one in run.ledger.entries if one.what == "answered" and one.note == "returned"}
    return any(one.id in returned and one.seq > 1 for one in told)


def _one_end(run: Evidence, flow_id: str, flow: Choreography[Any], told: Sequence[Envelope]) -> Iterator[str]:
    """The first decision to commit wins: one end, and none but a bad one where it has turned."""
    said = [one.type for one in told if one.type in {kind.type_name for kind in (*flow.ends, *flow.turns)}]
    ends = [one for one in said if one not in {kind.type_name for kind in flow.turns}]
    bad = {kind.type_name for kind in flow.bad}
    if len(ends) > 1 or len(said) - len(ends) > 1 or (len(said) > len(ends) and not bad.issuperset(ends)):
        yield f"31: {run.name(flow_id)} has told {', '.join(said)}."


def _done_once(run: Evidence, flow_id: str) -> Iterator[str]:
    """At all times the net of each effect is 0 or 1."""
    net: Counter[str] = Counter()
    for deed in (deed for deed in run.reacted if deed.saga_id == flow_id):
        net[deed.what] += 1 if deed.kind == REACTED else -1
        if net[deed.what] not in (0, 1) and not run.effects_lost:
            what = deed.what.partition(" ")[2]
            yield f"1: the net of {what} of {run.name(flow_id)} is {net[deed.what]}."


def _pieces(flow: Choreography[Any]) -> Sequence[FlowPiece]:
    return [FlowPiece(flow.outline, one) for one in flow.reactions]


def _made(run: Evidence, flow_id: str, piece: FlowPiece, kind: str) -> list[float]:
    """When it was made, or taken back."""
    what = piece.line(flow_id, "")
    return [one.at for one in run.reacted if one.kind == kind and one.what.startswith(what)]


def _not_too_soon(run: Evidence, flow_id: str, flow: Choreography[Any], told: Sequence[Envelope]) -> Iterator[str]:
    """What waits for several facts is made once each of them was told."""
    published = {entry.message: entry.at for entry in reversed(run.ledger.entries) if entry.what == "published"}
    for piece in (one for one in _pieces(flow) if len(one.reaction.hears) > 1 and not one.reaction.undoes):
        for at in _made(run, flow_id, piece, REACTED):
            came = {one.type for one in told if published.get(one.id, at + 1) <= at}
            lacking = [fact.type_name for fact in piece.reaction.hears if fact.type_name not in came]
            if lacking:
                yield f"39: {piece.name} of {run.name(flow_id)} did not wait for {', '.join(lacking)}."


def _over(run: Evidence, flow_id: str, flow: Choreography[Any], told: Sequence[Envelope]) -> Iterator[str]:
    """Nothing is under way any more, and nobody has it to look at: so it has ended, as it should."""
    kinds = {one.type for one in told}
    if flow_id in _parked(run):
        return
    if kinds.isdisjoint(kind.type_name for kind in flow.ends):
        yield f"5: {run.name(flow_id)} stands still, with {', '.join(sorted(kinds))}."
        return
    well = not kinds.isdisjoint(kind.type_name for kind in flow.good)
    for piece in _pieces(flow):
        done, undone = (len(_made(run, flow_id, piece, kind)) for kind in (REACTED, WITHDREW))
        if piece.reaction in flow.outline.effects and not well and done != undone:
            yield f"30: {run.name(flow_id)} has ended badly, and {piece.does} stands."
        if well and undone and not piece.reaction.undoes:
            yield f"30: {run.name(flow_id)} has ended well, and {piece.does} was undone."
        if well and not piece.reaction.undoes and not done and _was_due(piece, kinds):
            yield f"5: {run.name(flow_id)} has ended well, without {piece.name}."


def _was_due(piece: FlowPiece, kinds: set[str]) -> bool:
    """Whether it should have been made: all was told that it hears, and it has not said no."""
    reaction = piece.reaction
    noes: list[FactType] = [*piece.outline.noes(reaction), *([reaction.gives_up] if reaction.gives_up else [])]
    said_no = any(fact.type_name in kinds for fact in noes)
    decides = piece.outline.decides(reaction)
    return not said_no and not decides and all(fact.type_name in kinds for fact in reaction.hears)


def _committed(run: Evidence) -> Iterator[str]:
    """Whatever of a flow has reached the broker was let go by a commit."""
    seen: Mapping[str, None] = dict.fromkeys(one.message for one in run.ledger.entries if one.what == "published")
    for message in seen:
        if run.flow_of(message) and message not in run.facts and not message.startswith(FORGED):
            kind = run.ledger.about[message].headers.get("cloudEvents_type")
            yield f"28: {kind} of {run.name(run.flow_of(message))} was told, and no commit let it go."


def _parked_rightly(run: Evidence) -> Iterator[str]:
    """A person gets what has failed for the last time, and what is older than what its service knows."""
    right = partial(_is_right, run)
    for message, why in run.parked.items():
        if run.flow_of(message) and not message.startswith(FORGED) and not right(why):
            yield f"16: a fact of {run.name(run.flow_of(message))} was parked: {why}"


def _is_right(run: Evidence, why: str) -> bool:
    forgotten = "no younger" in why and bool(run.were("jump", "skew") or run.forgets)
    return why.startswith(("handler failed", "the broker: delivery_limit")) or forgotten
