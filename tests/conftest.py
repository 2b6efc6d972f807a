"""What every test may ask for. Servers come from the environment (see tests/servers.py); a test that needs one and
does not get it fails, since a suite that skips its hard half looks green."""

import os
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import chain

import pytest
from redis.asyncio import Redis

from choros.sources import Source
from tests import virtual_time
from tests.virtual_time import VirtualTimeLoop

# Before anything imports them, so that a failing suite says what it compared.
pytest.register_assert_rewrite("choros.testing.conformance")


def from_environment(variable: str) -> str:
    address = os.environ.get(variable)
    if not address:
        pytest.fail(f"{variable} is not set. Run: make test, or python3 tests/servers.py -- pytest ...", pytrace=False)
    return address


@pytest.fixture(scope="session")
def amqp_url() -> str:
    """The RabbitMQ of this run. Shared by all tests: use `namespace` in every name you declare."""
    return from_environment("AMQP_URL")


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The Redis of this run. Shared by all tests: use `namespace` in every key."""
    return from_environment("REDIS_URL")


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The PostgreSQL of this run. Shared by all tests: use `namespace` in every name you create, and drop it again."""
    return from_environment("POSTGRES_URL")


@pytest.fixture
def namespace() -> str:
    """A name no other test has, so that tests may run side by side on one broker and one store."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def redis_client(redis_url: str, namespace: str) -> AsyncIterator[Redis]:
    """A client; the keys that have this test's namespace in their name are removed afterwards."""
    async with Redis.from_url(redis_url) as client:
        yield client
        keys = [key async for key in client.scan_iter(match=f"*{namespace}*", count=1000)]
        if keys:
            await client.delete(*keys)


def pytest_asyncio_loop_factories() -> Mapping[str, type[VirtualTimeLoop]]:
    """Tests do not wait where there is nothing to wait for."""
    return {"virtual": VirtualTimeLoop}


@pytest.fixture(scope="session", autouse=True)
def _wall_clock() -> Iterator[None]:
    """The wall clock goes with the loop's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "now", lambda _: virtual_time.now())
        yield


SERVER_FIXTURES = {"amqp_url", "redis_url", "redis_client", "postgres_url"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a server needs one: nobody has to remember the marker."""
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The suite says where its own time goes, so that growth is seen: seconds of all workers together, by folder."""
    seconds: defaultdict[str, float] = defaultdict(float)
    tests: Counter[str] = Counter()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            folder = report.nodeid.split("::")[0].rpartition("/")[0]
            seconds[folder] += report.duration
            tests[folder] += report.when == "call"
    if len(seconds) > 1:
        terminalreporter.section("time by folder")
        for folder, spent in sorted(seconds.items(), key=lambda one: -one[1]):
            terminalreporter.write_line(f"{spent:8.1f} s {tests[folder]:6} tests  {folder}")
        terminalreporter.write_line(f"{sum(seconds.values()):8.1f} s {tests.total():6} tests")
