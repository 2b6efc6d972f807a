"""A relay of one channel of a store, for tests that play the publisher."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from choros.runtime.host.outgoing import COMMANDS, FACTS, Manner, Outgoing
from choros.runtime.host.relay import Publisher, Relay
from choros.runtime.orchestrator import outboxes
from choros.runtime.orchestrator.outboxes import StoreOutbox
from choros.store.sagas import Channel, Store, Unsent

MANNERS: dict[Channel, Manner] = {"commands": COMMANDS, "facts": FACTS}


def saga_relay(
    channel: Channel, publish: Publisher, store: Store, *, resend_after: float = 5.0, kind: type[Relay] = Relay,
    **settings: Any,
) -> Relay:  # fmt: skip
    """As an orchestrator makes it; or a mutant of it."""
    return kind(MANNERS[channel], publish, StoreOutbox(store, channel, resend_after), **settings)


def outgoing(unsent: Iterable[Unsent]) -> list[Outgoing]:
    """What is to be sent, of one channel."""
    return [one for channel in MANNERS for one in outboxes.outgoing(unsent, channel)]
