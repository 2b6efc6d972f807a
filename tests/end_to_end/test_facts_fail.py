"""`choros facts fail` on a broker: a parked fact goes back to its subscriber, with the order to give up, on record."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from typer.testing import CliRunner

from choros import Addresses
from choros.cli.dead import app as dead_command
from choros.cli.facts_fail import app as facts_command
from choros.roles.addresses import connected
from choros.runtime.client.beginning import first_fact
from choros.sources import now
from choros.transport.copies import GIVE_UP, REDRIVEN, dead_copy
from choros.transport.topology import Names
from choros.wire.envelope import encode
from tests.end_to_end.shop import remove
from tests.patience import PATIENCE
from tests.simulation import flows

pytestmark = [pytest.mark.servers, pytest.mark.slow]
APP = "tests.simulation.flows"


async def test_a_parked_fact_goes_back_with_the_order_to_give_up(amqp_url: str, namespace: str) -> None:
    app, names = flows.app.within(namespace), Names(namespace)
    queue, source = names.subscriber_queue("house"), f"/{namespace}/box"
    settings = {"CHOROS_BROKER": amqp_url, "CHOROS_NAMESPACE": namespace}

    async def typed(of: Any, *words: str) -> str:
        ended = await asyncio.to_thread(partial(CliRunner().invoke, of, words, env=settings))
        assert ended.exit_code == 0, ended.output
        return ended.output

    wanted = first_fact(flows.flow, flows.Wanted(ticket="t1"), namespace=namespace, source=source, at=now())
    try:
        async with connected(Addresses(amqp_url), app, "test") as transport:
            await transport.declare(app.topology)
            parked = dead_copy(encode(wanted), "handler failed 6 times", queue, names.way_of("fact", source))
            await transport.post(names.parking_exchange(queue), "", parked)
            (row,) = [json.loads(line) for line in (await typed(dead_command, "list", APP, "-o", "jsonl")).splitlines()]
            assert "1 put back, to be given up" in await typed(facts_command, APP, row["id"], "--by", "me")
            consumer = await transport.consume(queue, 1)
            async with asyncio.timeout(PATIENCE):
                (back,) = await consumer.receive(1)
            assert (back.wire.headers[GIVE_UP], back.wire.headers[REDRIVEN], back.exchange) == (1, 1, names.retry)
            await back.ack()
            assert '"act": "fail"' in await typed(dead_command, "acts", APP, "-o", "json")
            await consumer.close()
    finally:
        await remove(amqp_url, app.topology)
