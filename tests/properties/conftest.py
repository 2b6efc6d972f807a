"""What the tests of this folder may ask for."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def quiet() -> Iterator[None]:
    """A broken publisher is told at length, each time."""
    log = logging.getLogger("choros")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)
