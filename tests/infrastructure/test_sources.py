"""Time and chance come in at one place, so that a simulation can put its own there."""

from __future__ import annotations

import re
from contextvars import copy_context
from pathlib import Path

import pytest

import choros
from choros.sources import Source, fresh_id, full_jitter, now, source, uniform

HOME = Path(choros.__file__).parent
CLOCKS = re.compile(r"\btime\.time|\burandom|\brandom\.|\buuid4|\bsecrets\.|datetime\.(now|utcnow|today)")
ADAPTERS = {"rabbitmq", "redis", "sqlite"}
FOLDERS = ("runtime", "saga", "transport", "store", "wire", "app", "desk")
READ = [path for folder in FOLDERS for path in sorted((HOME / folder).rglob("*.py")) if not ADAPTERS & {*path.parts}]
READ = [*READ, HOME / "messages.py"]
OF_THE_MACHINE = {"vitals.py"}
"""What one process tells another on the same machine goes by the machine's clock."""


class Fixed(Source):
    """Always the same."""

    def now(self) -> float:
        return 1_000.0

    def uniform(self, low: float, high: float) -> float:
        return high

    def ten_bytes(self) -> bytes:
        return bytes(10)


@pytest.mark.parametrize("path", [path for path in READ if path.name not in OF_THE_MACHINE], ids=str)
def test_nothing_reads_a_clock_or_draws_lots_by_itself(path: Path) -> None:
    assert not CLOCKS.findall(path.read_text(encoding="utf-8"))


def test_all_that_is_drawn_comes_from_the_source_in_use() -> None:
    context = copy_context()
    context.run(source.set, Fixed())
    assert context.run(now) == 1_000.0
    assert context.run(uniform, 1, 2) == 2
    assert context.run(fresh_id) == context.run(fresh_id) == "0000000f-4240-7000-8000-000000000000"
    assert context.run(lambda: next(full_jitter(0.2))) == 0.2


def test_without_a_simulation_it_is_the_systems() -> None:
    assert fresh_id() != fresh_id()
    assert now() > 1_700_000_000
