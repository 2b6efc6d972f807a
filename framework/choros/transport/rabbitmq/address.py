"""The address of a broker: what is added to it, and what of it may be shown."""

from __future__ import annotations

from yarl import URL

from choros.errors import UsageError

HEARTBEAT = 10
"""Seconds; a silent peer is given up after three of them, and one second each."""


def dialled(url: str, name: str) -> URL:
    """The address with our defaults; raises UsageError if it is none."""
    try:
        address = URL(url)
    except ValueError:
        address = URL()
    if address.scheme not in ("amqp", "amqps") or not address.host:
        raise UsageError("The broker's address is not usable.", "amqp://user:password@host:5672/vhost")
    defaults = {"heartbeat": str(HEARTBEAT), "name": name}
    return address.with_query({**defaults, **dict(address.query)})


def shown(address: URL) -> str:
    """The address without its password and options."""
    bare = address.with_query(None)
    return str(bare.with_password("***") if bare.password else bare)
