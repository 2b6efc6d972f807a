"""Paging through records: a cursor is the place of the last record handed out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

from choros.errors import UsageError
from choros.store.sagas import Page, Record


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the order; ids decide between records of the same moment."""

    at: float
    saga_id: str

    @property
    def cursor(self) -> str:
        """What stands for it."""
        return f"{self.at!r}@{self.saga_id}"

    @staticmethod
    def parse(cursor: str) -> Position:
        """The place a cursor stands for; before all records for an empty one."""
        if not cursor:
            return Position(inf, "")
        at, _, saga_id = cursor.partition("@")
        try:
            return Position(float(at), saga_id)
        except ValueError:
            raise UsageError("This cursor is none of ours.", "start again without a cursor.") from None

    @staticmethod
    def after(since: float, cursor: str) -> Position:
        """The place a cursor stands for, the oldest first; for an empty one before all from that moment on."""
        return Position.parse(cursor) if cursor else Position(since, "")

    def precedes(self, record: Record) -> bool:
        """Whether the record comes after this place."""
        return place_of(record) < self


def place_of(record: Record) -> Position:
    """Where a record stands."""
    return Position(record.started_at, record.saga_id)


def page_of(records: Iterable[Record], limit: int) -> Page:
    """The first `limit` of these and a cursor, where there are more of them than that."""
    return _page(sorted(records, key=place_of, reverse=True), limit, place_of)


def end_of(record: Record) -> Position:
    """Where a record that has ended stands among those, by its last change."""
    return Position(record.updated_at, record.saga_id)


def page_of_ended(records: Iterable[Record], limit: int) -> Page:
    """The first `limit` of these, the oldest first, and a cursor, where there are more of them than that."""
    return _page(sorted(records, key=end_of), limit, end_of)


def _page(ordered: Sequence[Record], limit: int, place: Callable[[Record], Position]) -> Page:
    shown = ordered[:limit]
    return Page(shown, place(shown[-1]).cursor if len(ordered) > limit and shown else "")


async def pages(look: Callable[..., Awaitable[Page]]) -> AsyncIterator[Sequence[Record]]:
    """All records of a look that is taken page by page."""
    cursor, more = "", True
    while more:
        page = await look(cursor=cursor)
        yield page.records
        cursor, more = page.cursor, bool(page.cursor)
