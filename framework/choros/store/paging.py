"""Paging through records, last started first: a cursor is the place of the last record handed out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from choros.errors import UsageError
from choros.store.port import Page, Record


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the order; ids decide between records started at the same moment."""

    started_at: float
    saga_id: str

    @staticmethod
    def parse(cursor: str) -> Position:
        """The place a cursor stands for; before all records for an empty one."""
        if not cursor:
            return Position(inf, "")
        started_at, _, saga_id = cursor.partition("@")
        try:
            return Position(float(started_at), saga_id)
        except ValueError:
            raise UsageError("This cursor is none of ours.", "start again without a cursor.") from None

    def precedes(self, record: Record) -> bool:
        """Whether the record comes after this place."""
        return place_of(record) < self


def place_of(record: Record) -> Position:
    """Where a record stands."""
    return Position(record.started_at, record.saga_id)


def page_of(records: Iterable[Record], limit: int) -> Page:
    """The first `limit` of these and a cursor, where there are more of them than that."""
    ordered = sorted(records, key=place_of, reverse=True)
    shown = ordered[:limit]
    if len(ordered) <= limit or not shown:
        return Page(shown)
    return Page(shown, f"{shown[-1].started_at!r}@{shown[-1].saga_id}")
