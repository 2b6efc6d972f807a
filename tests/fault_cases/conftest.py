"""What these tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.fault_cases.trip import Trip

MakeTrip = Callable[..., Trip]


@pytest.fixture
def make_trip(amqp_url: str, namespace: str, tmp_path: Path) -> MakeTrip:
    """A trip on the broker of this run; its store is a SQLite file if nothing else is said."""

    def make(**settings: Any) -> Trip:
        given = {"broker": amqp_url, "store": f"sqlite:///{tmp_path}/sagas.db"} | settings
        return Trip(namespace, str(tmp_path), **given)

    return make


@pytest.fixture(params=["sqlite", *(pytest.param(one, marks=pytest.mark.long) for one in ("redis", "postgresql"))])
def store_url(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, redis_client: Redis, postgres_url: str
) -> str:
    """Each store."""
    return {"sqlite": f"sqlite:///{tmp_path}/sagas.db", "redis": redis_url, "postgresql": postgres_url}[request.param]
