"""The shop under exactly the permissions that `choros topology permissions` prints, each role a user of its own; and
what each of them tries beyond."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelClosed
from aiormq.exceptions import AMQPConnectionError, ChannelAccessRefused

from choros import Addresses, Client
from choros.cli.desk import acting
from choros.desk.parkings import WantedLetters
from choros.desk.redrive import Acts, act_on_all
from choros.errors import BrokerMisconfigured
from choros.roles.addresses import connected
from choros.runtime.orchestrator.signature import Signature
from choros.sources import fresh_id, saga_id_for
from choros.transport.topology import Names
from choros.wire.envelope import Envelope, Wire, encode
from reference_services.contracts import PaymentCharged
from reference_services.order.saga import order_saga
from tests.end_to_end import least
from tests.end_to_end.least import PATIENCE, ROLES, Least
from tests.end_to_end.shop import queue_depth, until
from tests.reference.conftest import order

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]
Act = Callable[[Any], Awaitable[object]]
ALL = ("orchestrator", "client", "payment", "inventory", "shipping", "notifications", "analytics", "operator")


@pytest.fixture(scope="module")
def shop(amqp_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Least]:
    """Declared, and permitted; nobody is at work."""
    made = least.permitted(amqp_url, f"t{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("shop"))
    yield made
    asyncio.run(least.remove(made))


@pytest.fixture
def names(shop: Least) -> Names:
    return Names(shop.namespace)


# --- it works ---------------------------------------------------------------------------------------------------------


async def test_the_shop_runs_with_these_and_nothing_else(shop: Least, names: Names, amqp_url: str) -> None:
    """Orders that succeed and that are undone, facts that fail and are tried again, a command that is parked."""
    shop.letters.broken = 1
    async with shop.open() as client, asyncio.timeout(PATIENCE):
        good, bad = order("good", ("22222", 2, 150)), order("bad", ("22222", 900, 10))
        assert (await client.run(order_saga, good)).status == "completed"
        assert (await client.run(order_saga, bad)).status == "compensated"
        async with await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            commands = await channel.get_exchange(names.commands, ensure=False)
            await commands.publish(aio_pika.Message(b"{"), "payment")
        await until("it is parked", lambda: came(amqp_url, Names.dead_queue(names.service_queue("payment"))))
        await until("both are told", lambda: arrived(shop, 2))


async def test_an_operator_puts_back_with_these_and_nothing_else(shop: Least, names: Names, amqp_url: str) -> None:
    async with connected(Addresses(amqp_url), shop.shop, "stranger") as stranger:
        await stranger.post(names.dead_queue(names.service_queue("payment")), "", Wire(b"{", {}))
    async with acting(shop.shop, shop.url_of("operator")) as desk:
        act = Acts(desk.transport, names, Signature("ada")).redrive
        acting_on = act_on_all(desk, WantedLetters(queue="payment"), act)
        assert {done.left async for done in acting_on} == {""}
        look = await desk.transport.look(names.acts)
        assert await look.take()
        await look.close()


async def came(url: str, queue: str) -> bool:
    return await queue_depth(url, queue) > 0


async def arrived(shop: Least, letters: int) -> bool:
    return len(shop.letters.sent) == letters


# --- nobody can do more -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ALL)
async def test_whatever_else_somebody_tries_is_refused(shop: Least, names: Names, user: str) -> None:
    topology = shop.shop.topology
    mine = shop.permissions[user]
    exchanges = {one.name for one in topology.exchanges} | {"", "amq.direct", "amq.fanout", "amq.topic", "amq.headers"}
    queues = {one.name for one in topology.queues}
    strange = [name for name in sorted(exchanges) if rf"{escaped(name)}" not in alternatives(mine["write"])]
    unread = [name for name in sorted(queues) if rf"{escaped(name)}" not in alternatives(mine["read"])]
    assert len(strange) >= len(exchanges) - len(alternatives(mine["write"]))
    assert len(unread) >= len(queues) - len(alternatives(mine["read"])) > 2
    acts: dict[str, Act] = {
        **{f"publish to {exchange!r}": partial(publish, exchange) for exchange in strange},
        **{f"read {queue}": partial(take, queue) for queue in unread},
        **takes_hold(names, sorted(queues)),
    }
    assert await allowed(shop.url_of(user), acts) == []


async def allowed(url: str, acts: dict[str, Act]) -> list[str]:
    """Which of these acts are not refused. Each leaves a closed channel behind; a broker that has enough of that and
    closes the connection (seen with 4.0, once) has refused nothing, so it is asked again."""
    left = dict(acts)
    found: list[str] = []
    for _ in range(3):
        with suppress(AMQPConnectionError):
            async with await aio_pika.connect(url) as connection:
                for what in list(left):
                    if not await refused(connection, left[what]):
                        found.append(what)
                    del left[what]
            return found
    raise AssertionError(f"The broker closes every connection: {left}")


async def refused(connection: AbstractConnection, act: Act) -> bool:
    try:
        await act(await connection.channel())
    except (ChannelClosed, ChannelAccessRefused) as refusal:
        return "refused for user" in str(refusal)
    return False


def escaped(name: str) -> str:
    return name.replace(".", r"\.")


def alternatives(pattern: str) -> list[str]:
    return pattern.strip("^$()").split("|")


async def publish(exchange: str, channel: Any) -> None:
    to = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
    await to.publish(aio_pika.Message(b"{}"), "payment")


async def take(queue: str, channel: Any) -> None:
    await (await channel.get_queue(queue, ensure=False)).get(fail=False)


def takes_hold(names: Names, queues: list[str]) -> dict[str, Act]:
    """What would let somebody see or have what is not his."""
    acts: dict[str, Act] = {
        "declare a queue": lambda channel: channel.declare_queue(f"{names.namespace}.mine"),
        "declare a queue of his own": lambda channel: channel.declare_queue(exclusive=True),
        "declare an exchange": lambda channel: channel.declare_exchange(f"{names.namespace}.mine"),
        "bind exchanges": partial(bind_exchanges, names),
    }
    for queue in queues:
        acts[f"bind {queue} to the commands"] = partial(bind, queue, names.commands)
        acts[f"bind {queue} to the facts"] = partial(bind, queue, names.facts)
        acts[f"unbind {queue}"] = partial(unbind, queue, names.commands)
        acts[f"delete {queue}"] = partial(remove, queue)
    return acts


async def bind(queue: str, exchange: str, channel: Any) -> None:
    await (await channel.get_queue(queue, ensure=False)).bind(exchange, "inventory")


async def unbind(queue: str, exchange: str, channel: Any) -> None:
    await (await channel.get_queue(queue, ensure=False)).unbind(exchange, "inventory")


async def remove(queue: str, channel: Any) -> None:
    await channel.queue_delete(queue)


async def bind_exchanges(names: Names, channel: Any) -> None:
    exchange = await channel.get_exchange(names.replies_of("payment"), ensure=False)
    await exchange.bind(names.commands)


# --- nobody can speak for another -------------------------------------------------------------------------------------


async def test_no_service_answers_for_another(shop: Least, names: Names, amqp_url: str) -> None:
    """Inventory says that payment has charged, over the only way it has; payment is away and has charged nobody."""
    async with shop.open("orchestrator") as client, shop.channel("inventory") as channel:
        saga_id = await client.start(order_saga, order("guessed"))
        assert saga_id == saga_id_for(f"{names.namespace}.order.order", "guessed")
        replies = await channel.get_exchange(names.replies_of("inventory"), ensure=False)
        for source in ("payment", "inventory"):
            wire = encode(charged(saga_id, f"/{names.namespace}/{source}"))
            message = aio_pika.Message(wire.body, headers=dict(wire.headers), content_type="application/json")
            await replies.publish(message, names.reply_queue("order"))
        reasons = await parked(amqp_url, names.dead_queue(names.reply_queue("order")), 2)
        assert f"{names.replies_of('inventory')}, which is not the way" in reasons[0]
        assert "another service than payment" in reasons[1]
        assert (await progress(client, saga_id))[0] == "sent"


def charged(saga_id: str, source: str) -> Envelope:
    return Envelope(
        id=fresh_id(), kind="reply", source=source, time=time.time(), correlation_id=saga_id, causation_id="x",
        saga="order", saga_version=1, step="charge_payment", attempt=1, outcome="ok",
        key=f"{saga_id}:charge_payment:1:do", type=PaymentCharged.type_name, data='{"charge_id":"forged"}',
    )  # fmt: skip


async def progress(client: Client, saga_id: str) -> list[str]:
    return [state.progress for state in (await client.show(saga_id)).instance.nodes.values()]


async def parked(url: str, queue: str, count: int) -> list[str]:
    found: list[str] = []
    async with await aio_pika.connect(url) as connection, asyncio.timeout(PATIENCE):
        dead = await (await connection.channel()).get_queue(queue, ensure=False)
        while len(found) < count:
            message = await dead.get(fail=False, no_ack=True)
            found += [str(message.headers["x-choros-reason"])] if message else []
            await asyncio.sleep(0.02)
    return found


# --- what is missing is named -----------------------------------------------------------------------------------------


@pytest.mark.long  # it starts each role once for each of its rights
async def test_a_role_that_lacks_a_permission_ends_with_a_sentence_that_names_it(shop: Least, tmp_path: Path) -> None:
    """Each right of each role is needed."""
    rows: list[dict[str, str]] = []
    cases: list[tuple[str, str, str, str]] = []
    for role, user in ROLES.items():
        mine = shop.permissions[user]
        for act in ("write", "read"):
            for lacking in alternatives(mine[act]):
                left = "|".join(one for one in alternatives(mine[act]) if one != lacking)
                name = f"{user}-{len(rows)}"
                rows.append({**mine, "user": f"{shop.namespace}-{name}", act: f"^({left})$" if left else "^$"})
                cases.append((role, name, act, lacking))
    await asyncio.to_thread(least.permit, tmp_path, rows)
    try:
        for role, user, act, lacking in cases:
            with pytest.raises(BrokerMisconfigured) as ended:
                async with asyncio.timeout(PATIENCE):
                    await shop.run(role, user)
            said = str(ended.value)
            assert f"The user '{shop.namespace}-{user}' may not {act} " in said
            named = re.search(r"it lacks permission to (\w+) '\^(.+)\$'", said)
            assert named and named[1] == act and re.fullmatch(lacking, named[2].replace("\\", ""))
            assert "\n" not in said
    finally:
        await asyncio.to_thread(least.dismiss, shop, [name for _, name, _, _ in cases])
