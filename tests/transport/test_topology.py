"""One topology for RabbitMQ 3.10 to 4.3: what 4.3 denies must not be in it."""

from __future__ import annotations

import pytest

from choros.transport.topology import RETRY_LADDER, Names, Queue, Topology, topology

WHOLE = topology("shop", services=["payment", "shipping"], applications=["app"], subscribers=["one", "two"])
FORBIDDEN = {"x-queue-mode", "x-queue-version", "x-expires", "x-max-priority", "x-queue-master-locator"}
KNOWN = {
    "x-queue-type",
    "x-delivery-limit",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-overflow",
    "x-message-ttl",
    "x-max-age",
    "x-max-length-bytes",
    "x-stream-max-segment-size-bytes",
    "x-single-active-consumer",
    "x-max-length",
}


def sources(whole: Topology, destination: str) -> set[str]:
    return {binding.source for binding in whole.bindings if binding.destination == destination}


@pytest.mark.parametrize("queue", WHOLE.queues, ids=lambda queue: queue.name)
def test_no_queue_has_an_argument_that_rabbitmq_4_denies(queue: Queue) -> None:
    assert not FORBIDDEN & queue.arguments.keys()
    assert queue.arguments.keys() <= KNOWN
    assert queue.arguments["x-queue-type"] in ("quorum", "stream")


@pytest.mark.parametrize("queue", WHOLE.queues, ids=lambda queue: queue.name)
def test_dead_lettering_is_at_least_once_but_for_the_detour(queue: Queue) -> None:
    if queue.name == "shop.app.facts.detour":  # at least once would wait for a queue that does not answer
        assert "x-dead-letter-strategy" not in queue.arguments
    elif "x-dead-letter-exchange" in queue.arguments:
        assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"
        assert queue.arguments["x-overflow"] == "reject-publish"  # else RabbitMQ falls back to at-most-once


def test_exchanges_are_of_the_kinds_every_broker_has() -> None:
    assert {exchange.kind for exchange in WHOLE.exchanges} <= {"direct", "fanout", "topic"}


def test_every_queue_is_bound_and_every_binding_leads_somewhere() -> None:
    queues, exchanges = (
        {queue.name for queue in WHOLE.queues},
        {exchange.name for exchange in WHOLE.exchanges},
    )
    for binding in WHOLE.bindings:
        assert binding.source in exchanges
        assert binding.destination in (exchanges if binding.to_exchange else queues)
    assert {binding.destination for binding in WHOLE.bindings if not binding.to_exchange} == queues


def test_nothing_but_the_service_is_bound_to_its_commands() -> None:
    names = Names("shop")
    bound = [(b.destination, b.key) for b in WHOLE.bindings if b.source == names.commands]
    assert bound == [("shop.payment", "payment"), ("shop.shipping", "shipping")]
    assert [b.destination for b in WHOLE.bindings if b.source == names.replies] == [names.reply_queue("app")]


def test_what_is_published_to_an_exchange_of_ones_own_goes_where_that_of_all_leads() -> None:
    own = {(b.source, b.destination) for b in WHOLE.bindings if b.to_exchange}
    replies = {(f"shop.{service}.replies", "shop.replies") for service in ("payment", "shipping")}
    assert own == {*replies, ("shop.app.facts", "shop.facts"), ("shop.facts", "shop.facts.by-type")}


@pytest.mark.parametrize("queue", [queue.name for queue in WHOLE.queues if queue.name.endswith(".dead")])
def test_who_may_park_for_one_queue_reaches_no_other(queue: str) -> None:
    assert [b.destination for b in WHOLE.bindings if b.source == queue] == [queue]


def test_the_ladder_leads_back_to_one_queue_and_never_to_the_facts() -> None:
    names = Names("shop")
    queue = names.subscriber_queue("one")
    for seconds in RETRY_LADDER:
        rung = names.retry_queue(queue, seconds)
        assert sources(WHOLE, rung) == {names.retry, names.retry_exchange(queue)}
    assert sources(WHOLE, queue) == {names.facts, names.retry}


def test_adding_a_topology_to_itself_changes_nothing() -> None:
    assert WHOLE + WHOLE == WHOLE
