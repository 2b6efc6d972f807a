"""What a simulated Redis holds: keys of five types, some with a time to live, and how often each was written."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Any, TypeVar, cast

from choros_verify.simulation.redis.protocol import RedisRefusal

FULL = "OOM command not allowed when used memory > 'maxmemory'."
READ_ONLY = "READONLY You can't write against a read only replica."
_INTEGER = re.compile(r"-?[1-9][0-9]*|0")
_INT64 = range(-(2**63), 2**63)


class Fields(dict[str, str]):
    """A hash."""


class Elements(list[str]):
    """A list."""


class Members(dict[str, None]):
    """A set; in the order in which they were added, as no hash seed changes it."""


class Scores(dict[str, float]):
    """A sorted set."""


HeldValue = str | Fields | Elements | Members | Scores
TYPES: Mapping[type[HeldValue], str] = {str: "string", Fields: "hash", Elements: "list", Members: "set", Scores: "zset"}
S = TypeVar("S", Fields, Elements, Members, Scores)
ScoreSpan = tuple[float, bool, float, bool]
"""From a score to another one; whether without the first, whether without the last."""


class Keyspace:
    """The keys of one server. A call is refused where they hold another type than it needs."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        """The server's clock."""
        self.written = 0
        """How often anything was."""
        self.full = self.read_only = False
        """Whether what needs memory is refused; whether everything is that writes."""
        self._held: dict[str, HeldValue] = {}
        self._ends: dict[str, float] = {}
        self._touched: dict[str, int] = {}
        self._dirty = False

    # --- all types ---

    def begin(self) -> None:
        """Another command, or script: one whose first write needs no memory may go on to others."""
        self._dirty = False

    def names(self) -> list[str]:
        """All keys there are."""
        self._expire(*self._ends)
        return list(self._held)

    def touched(self, key: str) -> int:
        """Another number after every change of this key."""
        self._expire(key)
        return self._touched.get(key, 0)

    def type_of(self, key: str) -> str:
        """The type's name; none where nothing is."""
        self._expire(key)
        return TYPES[type(self._held[key])] if key in self._held else "none"

    def drop(self, keys: Iterable[str]) -> int:
        """Take these out; says how many there were."""
        self._may_write(grows=False)
        there = [key for key in dict.fromkeys(keys) if self.type_of(key) != "none"]
        for key in there:
            self._forget(key)
        return len(there)

    def copied(self) -> "Keyspace":
        """All that is there right now."""
        copied = Keyspace(self.now)
        copied._held = {key: copy(value) for key, value in self._held.items()}
        copied._ends = dict(self._ends)
        return copied

    def take_from(self, other: "Keyspace", staying: Iterable[str]) -> None:
        """Hold what that one holds, but for a few: whoever watches a key sees it change."""
        for key in {**self._held, **other._held}:
            self._touch(key)
        kept = {key: self._held[key] for key in staying if key in self._held}
        self._held, self._ends = other._held | kept, other._ends

    def _may_write(self, *, grows: bool) -> None:
        if self.read_only:
            raise RedisRefusal(READ_ONLY)
        if self.full and grows and not self._dirty:
            raise RedisRefusal(FULL)
        self._dirty = True

    def _touch(self, key: str) -> None:
        self.written += 1
        self._touched[key] = self._touched.get(key, 0) + 1

    def _forget(self, key: str) -> None:
        del self._held[key]
        self._ends.pop(key, None)
        self._touch(key)

    def _expire(self, *keys: str) -> None:
        for key in keys:
            if key in self._ends and self._ends[key] < self.now():
                self._forget(key)

    def _read(self, key: str, kind: type[S]) -> S:
        self._expire(key)
        found = self._held.get(key)
        if found is None:
            return kind()
        if not isinstance(found, kind):
            raise RedisRefusal("WRONGTYPE Operation against a key holding the wrong kind of value")
        return found

    def _grow(self, key: str, kind: type[S]) -> S:
        self._may_write(grows=True)
        found = self._read(key, kind)
        self._held[key] = found
        return found

    def _shrink(self, key: str, kind: type[S], names: Iterable[str]) -> int:
        """Take these out of a hash or a sorted set; an empty one is not there."""
        self._may_write(grows=False)
        found = cast("dict[str, Any]", self._read(key, kind))
        gone = [name for name in dict.fromkeys(names) if name in found]
        for name in gone:
            del found[name]
        if gone and not found:
            self._forget(key)
        elif gone:
            self._touch(key)
        return len(gone)

    # --- strings ---

    def text(self, key: str) -> str | None:
        """The string there is."""
        self._expire(key)
        found = self._held.get(key)
        if not isinstance(found, str | None):
            raise RedisRefusal("WRONGTYPE Operation against a key holding the wrong kind of value")
        return found

    def put(self, key: str, value: str, *, lives: float | None = None) -> None:
        """Replace whatever there is, for so many seconds or for good."""
        self._may_write(grows=True)
        self._held[key] = value
        self._ends.pop(key, None)
        if lives is not None:
            self._ends[key] = self.now() + lives
        self._touch(key)

    def add(self, key: str, amount: int) -> int:
        """Add to a number."""
        self._may_write(grows=True)
        total = _added(self.text(key), amount)
        self._held[key] = str(total)
        self._touch(key)
        return total

    # --- hashes ---

    def fields(self, key: str) -> Fields:
        """The hash there is, an empty one for none; to be read only."""
        return self._read(key, Fields)

    def set_fields(self, key: str, fields: Mapping[str, str]) -> int:
        """Set these; says how many are new."""
        found = self._grow(key, Fields)
        before = len(found)
        found.update(fields)
        self._touch(key)
        return len(found) - before

    def drop_fields(self, key: str, names: Iterable[str]) -> int:
        """Take these out; says how many there were."""
        return self._shrink(key, Fields, names)

    def add_to_field(self, key: str, name: str, amount: int) -> int:
        """Add to a number in a hash."""
        total = _added(self.fields(key).get(name), amount, "hash value is not an integer")
        self.set_fields(key, {name: str(total)})
        return total

    # --- lists and sets ---

    def elements(self, key: str) -> Elements:
        """The list there is; to be read only."""
        return self._read(key, Elements)

    def append(self, key: str, values: Sequence[str]) -> int:
        """Put these at the end; says how many there are."""
        found = self._grow(key, Elements)
        found.extend(values)
        self._touch(key)
        return len(found)

    def members(self, key: str) -> Members:
        """The set there is; to be read only."""
        return self._read(key, Members)

    def include(self, key: str, members: Iterable[str]) -> int:
        """Add these; says how many are new."""
        found = self._grow(key, Members)
        before = len(found)
        found.update(dict.fromkeys(members))
        if len(found) > before:
            self._touch(key)
        return len(found) - before

    # --- sorted sets ---

    def score(self, key: str, member: str) -> float | None:
        """Of this member, if it is there."""
        return self._read(key, Scores).get(member)

    def set_score(self, key: str, score: float, member: str) -> int:
        """Add a member, or move it; says how many are new."""
        found = self._grow(key, Scores)
        before = found.get(member)
        if before != score:
            found[member] = score
            self._touch(key)
        return int(before is None)

    def drop_members(self, key: str, members: Iterable[str]) -> int:
        """Take these out of a sorted set; says how many there were."""
        return self._shrink(key, Scores, members)

    def ranked(self, key: str) -> list[tuple[float, str]]:
        """All of a sorted set, the least first."""
        return sorted((score, member) for member, score in self._read(key, Scores).items())

    def within(self, key: str, span: ScoreSpan) -> list[tuple[float, str]]:
        """Those whose score lies in there, the least first."""
        low, over, high, under = span
        return [
            (score, member)
            for score, member in self.ranked(key)
            if (score > low or (score == low and not over)) and (score < high or (score == high and not under))
        ]


def span_of(low: str, high: str) -> ScoreSpan:
    """As commands write it: `(` before a score leaves that out."""
    return float(low.removeprefix("(")), low.startswith("("), float(high.removeprefix("(")), high.startswith("(")


def _added(text: str | None, amount: int, what: str = "value is not an integer or out of range") -> int:
    if text is not None and not (_INTEGER.fullmatch(text) and int(text) in _INT64):
        raise RedisRefusal(f"ERR {what}")
    total = int(text or 0) + amount
    if total not in _INT64:
        raise RedisRefusal("ERR increment or decrement would overflow")
    return total
