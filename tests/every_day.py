"""Which cases of a test `make test` runs; the others are left to `make test-long` or `make test-nightly`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def every_day(cases: Iterable[Any], kept: Collection[Any], rest: pytest.MarkDecorator = pytest.mark.long) -> list[Any]:
    """The cases, for `parametrize`; those that are not kept are marked otherwise."""
    return [case if case in kept else pytest.param(case, marks=rest) for case in cases]
