"""Health of a transport in memory, and what every change of health says in the log."""

from __future__ import annotations

from choros.transport.health import HealthRecord
from choros.transport.memory import MemoryBroker, MemoryTransport
from tests.captured import capture_logs


def state_of(transport: MemoryTransport) -> str:
    return transport.health.state


async def test_a_paused_broker_shows_as_blocked() -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker)
    assert state_of(transport) == "away"
    await transport.connect()
    assert state_of(transport) == "connected"
    with capture_logs() as logs:
        broker.pause()
        assert state_of(transport) == "blocked"
        broker.resume()
        assert state_of(transport) == "connected"
    assert [entry["event"] for entry in logs] == ["choros.broker.blocked", "choros.broker.back"]
    await transport.close()
    assert state_of(transport) == "away"


async def test_who_connects_to_a_paused_broker_is_blocked() -> None:
    broker = MemoryBroker()
    broker.pause()
    transport = MemoryTransport(broker)
    await transport.connect()
    assert state_of(transport) == "blocked"
    await transport.close()


async def test_a_closed_transport_hears_no_more_of_its_broker() -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker)
    await transport.connect()
    await transport.close()
    broker.pause()
    assert state_of(transport) == "away"


def test_only_changes_are_logged_and_since_is_when_it_changed() -> None:
    moments = iter([10.0, 20.0, 30.0, 45.0])
    record = HealthRecord("one", lambda: next(moments))
    with capture_logs() as logs:
        record.note("connected")
        record.note("away", "no connection")
        record.note("away", "again")
        assert (record.now.since, record.now.detail) == (30.0, "no connection")
        record.note("connected")
    away, back = logs  # the first connection is no news
    assert (away["event"], away["log_level"], away["why"]) == ("choros.broker.away", "error", "no connection")
    assert (back["event"], back["seconds"]) == ("choros.broker.back", 15.0)
