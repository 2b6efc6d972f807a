"""The address of a broker, or of the nodes of a cluster: what is added to it, and what of it may be shown."""

import re

from yarl import URL

from choros.errors import UsageError
from choros.sources import uniform

HEARTBEAT = 10
"""Seconds; a silent peer is given up after three of them, and one second each."""
_PARTS = re.compile(r"(?P<before>amqps?://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]+)(?P<after>.*)", re.DOTALL)


def dialled(url: str, name: str) -> tuple[URL, ...]:
    """One address with our defaults for each host of `amqp://user:password@one:5672,two:5672/vhost`.

    Raises UsageError if it is none.
    """
    parts = _PARTS.fullmatch(url)
    if parts is None or "@" in parts["after"].partition("?")[0]:  # a `/` in a password cuts it short
        raise _unusable()
    return tuple(_dialled(parts["before"] + host + parts["after"], name) for host in parts["hosts"].split(","))


def from_anywhere(addresses: tuple[URL, ...]) -> tuple[URL, ...]:
    """The same round, begun with any of them, so that processes spread over the nodes."""
    first = int(uniform(0, len(addresses))) % len(addresses)
    return addresses[first:] + addresses[:first]


def _dialled(url: str, name: str) -> URL:
    try:
        address = URL(url)
    except ValueError:
        raise _unusable() from None
    if not address.host:
        raise _unusable()
    defaults = {"heartbeat": str(HEARTBEAT), "name": name}
    return address.with_query({**defaults, **dict(address.query)})


def heartbeat_of(address: URL) -> float:
    """Seconds between two looks at the broker: its heartbeat (`?heartbeat=2`), or ours where that is switched off."""
    given = address.query.get("heartbeat", "")
    return float(given) if given.isdecimal() and int(given) else float(HEARTBEAT)


def _unusable() -> UsageError:
    return UsageError(
        "The broker's address is not usable.",
        "amqp://user:password@host:5672/vhost, or with the nodes of a cluster: ...@one:5672,two:5672/vhost;"
        " / in a password is %2F, @ is %40.",
    )


class Round:
    """The nodes to dial, one after the other without end."""

    def __init__(self, addresses: tuple[URL, ...]) -> None:
        self._addresses = addresses
        self._place = 0

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def address(self) -> URL:
        """The one whose turn it is."""
        return self._addresses[self._place]

    def turn(self) -> None:
        """It is the next one's turn."""
        self._place = (self._place + 1) % len(self._addresses)
