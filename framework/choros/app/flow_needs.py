"""What flows need: each service to know of them, and all of them on the broker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from choros.app.choreography import Choreography
from choros.app.flow_part import Decisions, FlowPart
from choros.transport.topology import Topology, topology


def part_of(flows: Iterable[Choreography[Any]], service: str) -> FlowPart:
    """What this service has to know. A type of fact begins the newest version of a flow."""
    known = sorted(flows, key=lambda flow: flow.version)
    heard: dict[str, frozenset[tuple[str, int]]] = {}
    for flow in known:
        for fact in (fact for one in flow.reactions if one.service == service for fact in one.hears):
            heard[fact.type_name] = heard.get(fact.type_name, frozenset()) | {(flow.name, flow.version)}
    closes = {(flow.name, flow.version): _decisions(flow) for flow in known if flow.closer == service}
    retracts = {flow.retraction.type_name: flow for flow in known if flow.retraction}
    return FlowPart({flow.start.type_name: flow for flow in known}, heard, closes, retracts)


def _decisions(flow: Choreography[Any]) -> Decisions:
    good, turns, bad = (frozenset(one.type_name for one in some) for some in (flow.good, flow.turns, flow.bad))
    return Decisions(good, turns, bad)


def topology_of(flows: Sequence[Choreography[Any]], namespace: str) -> Topology:
    """What is to be there before the first of their facts is published: the queues of all who take part, bound, and
    the exchanges of those who publish."""
    members = {name: service for flow in flows for name, service in flow.services.items()}
    speaking = {one.service for flow in flows for one in flow.reactions if one.tells}
    subscriptions = [service.subscription for service in members.values() if service.reactions]
    return topology(namespace, subscribers=subscriptions, publishers=sorted(speaking))
