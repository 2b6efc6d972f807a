"""What is asked of the rates, and whether it is so: each a ratio within a round, or a figure with a bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.campaign import Results, ratios
from benchmarks.contestants import CHOROS, HAND_PACKED, IN_TWO, LOCAL, REFUSED, STOCK, STOCK_REDIS
from benchmarks.measuring import Figures
from benchmarks.report import P50, RATE, Table, spread

SHAPES = (CHOROS, CHOROS + IN_TWO)


@dataclass(frozen=True)
class Demand:
    """A bound, and what of the results it is for."""

    what: str
    bound: float
    found: Callable[[Results], Sequence[float]]
    """One for each round; none where that was not measured."""
    at_most: bool = False

    def row(self, results: Results) -> Sequence[str]:
        """As the table has it."""
        values = self.found(results)
        sign = "≤" if self.at_most else "≥"
        return (self.what, f"{sign} {self.bound:g}", spread(values), self._held(values))

    def _held(self, values: Sequence[float]) -> str:
        if not values:
            return "not measured"
        return "yes" if (median(values) <= self.bound if self.at_most else median(values) >= self.bound) else "**no**"


def _beside(in_flight: int, floor: str, of: Callable[[Figures], float] = RATE) -> Callable[[Results], Sequence[float]]:
    """Of choros on servers, in the better of the two shapes."""
    return lambda results: ratios(results, in_flight, _better(results, in_flight), floor, of)


def _better(results: Results, in_flight: int) -> str:
    measured = [name for name in SHAPES if (in_flight, name) in results]
    rates = {name: median(RATE(one) for one in results[in_flight, name]) for name in measured}
    return max(rates, key=lambda name: rates[name], default=CHOROS)


def _of(in_flight: int, name: str, of: Callable[[Figures], float]) -> Callable[[Results], Sequence[float]]:
    return lambda results: [
        of(figures) for figures in results.get((in_flight, name or _better(results, in_flight)), ())
    ]


DEMANDS = (
    Demand(
        "the hand-packed floor, beside the stock floor with Redis, 100 in flight",
        4.5,
        lambda results: ratios(results, 100, HAND_PACKED, STOCK_REDIS, RATE),
    ),
    Demand("choros, 100 in flight, beside the stock floor with Redis", 2.3, _beside(100, STOCK_REDIS)),
    Demand("choros, 100 in flight, beside the hand-packed floor", 0.4, _beside(100, HAND_PACKED)),
    Demand("its CPU in Python, s for 1,000 sagas", 1.0, _of(100, "", lambda one: one.cpu), at_most=True),
    Demand("choros, 10 in flight, beside the stock floor with Redis", 1.3, _beside(10, STOCK_REDIS)),
    Demand("choros, 1 in flight: p50 beside the stock floor's, which keeps nothing", 1.1, _beside(1, STOCK, P50), True),
    Demand(
        "compensated sagas, 100 in flight, beside completed ones",
        0.6,
        lambda results: ratios(results, 100, CHOROS + REFUSED, CHOROS, RATE),
    ),
    Demand("choros, memory + sqlite, 100 in flight, sagas/s", 1500, _of(100, LOCAL, RATE)),
)
"""choros is on RabbitMQ and Redis, its services on SQLite, in the better of two shapes, where nothing else is said."""


def verdicts(results: Results) -> Table:
    """A row for each demand."""
    return [("asked", "", "measured", "held"), *(one.row(results) for one in DEMANDS)]
