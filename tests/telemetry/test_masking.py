"""Nobody reads a password: whatever it is made of, and wherever its address is shown."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable

import pytest
from redis import exceptions as redis_errors

from choros.cli import main
from choros.errors import ChorosError, UsageError, masked, shown
from choros.roles.addresses import Addresses, database_at, open_transport, store_at
from choros.store.redis.errors import named
from choros.telemetry.logs import mask
from choros.transport.rabbitmq.address import dialled
from choros.transport.rabbitmq.failures import explained

SECRETS = ("hush", "whisper")
NASTY = [
    "hush",
    "hush/whisper",
    "12/hush",
    "hush@whisper",
    "hush@whi/sper:whisper",
    "/hush",
    "hush?whisper",
    "hush?a=whisper",
    "hush#whisper",
    "hush whisper",
    "hush:whisper",
    "hush[whisper",
    "]hush",
    "hush\nwhisper",
    "hush'whisper",
    'hush"whisper',
    "hush%2Fwhisper",
    "hush%whisper",
    "hush://whisper",
    "hush,whisper@x,whisper",
    "hush\\whisper",
    "h\N{GREEK SMALL LETTER ALPHA}hush",
    "hush\ud800",
]
LOGINS = [login for password in NASTY for login in (f"me:{password}", f":{password}")]


def said(error: BaseException) -> str:
    """Everything that a terminal would show of it."""
    return "".join(traceback.format_exception(error)) + repr(error)


def raised(act: Callable[[], object]) -> str:
    """What it raised, if anything."""
    try:
        act()
    except Exception as error:
        return said(error)
    return ""


def unreachable(url: str) -> str:
    """What is said of a broker at this address, whether it can be dialled or not."""
    try:
        addresses = dialled(url, "me")
    except UsageError as error:
        return said(error)
    return "".join(str(explained(ConnectionRefusedError("refused"), address)) for address in addresses)


def of_redis(url: str) -> str:
    """What is said of a Redis at this address."""

    async def name() -> str:
        store = store_at(url)
        return str(store._server.name)  # type: ignore[attr-defined] # it is in every error and log line

    try:
        server = asyncio.run(name())
    except UsageError as error:
        return said(error)
    return server + str(named(redis_errors.ConnectionError(f"Error connecting to {url}"), server))


PLACES: dict[str, Callable[[str], str]] = {
    "shown": lambda login: shown(f"redis://{login}@host:6379/0"),
    "shown, with options": lambda login: shown(f"amqp://{login}@host/v?password=whisper&name=hush"),
    "a text": lambda login: masked(f"cannot reach redis://{login}@host/0 today"),
    "a text with two": lambda login: masked(f"amqp://{login}@one/, amqp://{login}@two/"),
    "a log line": lambda login: mask(f"cannot reach amqp://{login}@host/v"),
    "an error": lambda login: said(ChorosError(f"There is no role 'redis://{login}@host/0'.", "another.")),
    "a broker": lambda login: unreachable(f"amqp://{login}@host/v"),
    "a broker's transport": lambda login: raised(lambda: open_transport(f"amqp://{login}@host/v", "ns", "me")),
    "a broker of another kind": lambda login: raised(lambda: open_transport(f"kafka://{login}@host/v", "ns", "me")),
    "a store": lambda login: of_redis(f"redis://{login}@host:6379/0"),
    "a store of another kind": lambda login: raised(lambda: store_at(f"mysql://{login}@host/0")),
    "a SQLite file": lambda login: raised(lambda: store_at(f"sqlite://{login}@host/0")),
    "a database of another kind": lambda login: raised(lambda: database_at(f"{login}@host/0")),
    "addresses": lambda login: repr(Addresses(f"amqp://{login}@host/v", f"redis://{login}@host/0", f"redis://{login}@")),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_no_place_shows_a_password(place: str) -> None:
    for login in LOGINS:
        text = PLACES[place](login)
        assert not any(secret in text for secret in SECRETS), login


ARGUMENTS = [
    ["run", "reference_services.order", "--role", "{}"],
    ["run", "{}"],
    ["run", "reference_services.order", "{}"],
    ["run", "reference_services.order", "--brokr={}"],
    ["{}"],
    ["check", "{}"],
    ["saga", "list", "reference_services.order", "--limit", "{}"],
    ["saga", "list", "reference_services.order", "--status", "{}"],
    ["saga", "list", "reference_services.order", "-o", "{}"],
    ["saga", "list", "reference_services.order", "--store", "mysql{}"],
    ["run", "reference_services.order", "--broker", "kafka{}"],
    ["facts", "missed", "reference_services.order", "--since", "{}"],
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_no_command_repeats_a_password(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for login in ("me:hush", "me:hush/whisper", ":hush@whisper", "me:12/hush?whisper"):
        monkeypatch.setattr(sys, "argv", ["choros", *(one.format(f"amqp://{login}@host/v") for one in arguments)])
        with pytest.raises(SystemExit):
            main()
        told = capsys.readouterr()
        assert not any(secret in told.out + told.err for secret in SECRETS), (login, told)


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("redis://user:secret@host:6379/2?password=secret", "redis://***@host:6379/2"),
        ("redis://:pa/ss@host/0", "redis://***@host/0"),
        ("amqp://u:p@ss@one:5672,two:5672/v", "amqp://***@one:5672,two:5672/v"),
        ("amqp://[::1]:5672/v?heartbeat=2", "amqp://[::1]:5672/v"),
        ("memory://shop", "memory://shop"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock"),
        ("redis://host/0?password=se@cret", "redis://***"),
        ("redis://:secret", "redis://***"),
        ("secret", "***"),
    ],
)
def test_the_rest_of_an_address_is_shown(address: str, wanted: str) -> None:
    assert shown(address) == wanted


def test_a_text_without_an_address_stays() -> None:
    for text in ("register a handler with @payment.on(Paid).", "see https://example.org/x for 1 @ 2"[:30], "a = b"):
        assert masked(text) == text
