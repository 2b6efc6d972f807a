"""Stores and databases for these tests, closed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

pytest.register_assert_rewrite("choros.testing.store", "choros.testing.barrier")

Opening = Callable[[Any], Awaitable[Any]]


@pytest.fixture
async def opened() -> AsyncIterator[Opening]:
    """Opens what it is given, and closes it when the test is over."""
    all_opened = []

    async def opening(one: Any) -> Any:
        await one.open()
        all_opened.append(one)
        return one

    yield opening
    for one in all_opened:
        await one.close()
