"""Records as a database holds them: whatever somebody has made of one, the others are read."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from types import NoneType
from typing import Any

from choros.store.sagas import HistoryRow, Record
from choros.values import replace

_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "float | None": (int, float, NoneType),
    "tuple[str, ...]": (list, tuple),
}  # fmt: skip
_FIELDS = {
    one.name: _KINDS[str(one.type)] for one in fields(Record) if one.name not in ("saga_id", "gone", "unreadable")
}
"""What a database holds of a record, by field."""


def _fits(value: object, kinds: tuple[type, ...]) -> bool:
    texts = value if isinstance(value, (list, tuple)) else ()
    return type(value) in kinds and all(isinstance(one, str) for one in texts)


def record_of(saga_id: str, found: Mapping[str, Any]) -> Record:
    """The record with these values, by field; marked as unreadable where one is not what it was."""
    wrong = [name for name, kinds in _FIELDS.items() if not _fits(found.get(name), kinds)]
    if wrong:
        return unreadable(saga_id, wrong)
    lists = {"received": tuple(found["received"]), "undecided": tuple(found["undecided"])}
    return Record(saga_id=saga_id, **{**found, **lists})


def unreadable(saga_id: str, names: Iterable[str]) -> Record:
    """In the place of a record that is there, and of which nothing is to be believed."""
    return replace(_BLANK, saga_id=saga_id, status="unreadable", unreadable=", ".join(names))


def left_of(saga_id: str, saga: str, digest: str, status: str, ended_at: float) -> Record:
    """In the place of a record that was deleted after its retention."""
    return replace(_BLANK, saga_id=saga_id, saga=saga, digest=digest, status=status, updated_at=ended_at, gone=True)


_BLANK = Record(
    saga_id="", saga="", saga_version=0, key="", digest="", application="", version=0, transition="", status="",
    state="", started_at=0.0, updated_at=0.0,
)  # fmt: skip


def wanted_of(there: Mapping[str, str], names: Collection[str] | None) -> Mapping[str, str]:
    """Of the entries that are there those that were asked for, as `Loaded.entries` has them."""
    return dict(there) if names is None else {name: there.get(name, "") for name in names}


def listed(text: object) -> object:
    """What a JSON text holds; None where it is none."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def history_row_of(version: object, at: object, events: object) -> HistoryRow:
    """The row with these values; where one is not what it was, the row says so by holding no events."""
    if isinstance(version, int) and isinstance(at, (int, float)) and isinstance(events, str):
        return HistoryRow(version, at, events)
    return HistoryRow(version if isinstance(version, int) else 0, 0.0, "unreadable")
