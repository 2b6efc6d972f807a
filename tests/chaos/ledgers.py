"""What the services' books and the load's log say, voyage by voyage, read as an auditor would: from the files."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis

from tests.chaos.books import REDIS_BOOKS
from tests.chaos.load import read_said, read_starts
from tests.chaos.scripts import CRUISE, EXPEDITION, script_of


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a book."""

    book: str
    step: str
    act: str
    key: str
    attempt: int
    at: float


@dataclass(slots=True)
class Dossier:
    """All that is known of one voyage."""

    number: int
    script: str
    saga_id: str = ""
    """Empty where `start()` never returned: then the voyage may or may not exist."""
    effects: list[Entry] = field(default_factory=list)
    told: list[Entry] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    """Of an expedition: what was answered to whoever spoke to it."""

    def count(self, step: str, act: str) -> int:
        """Entries of this kind."""
        return sum(1 for entry in self.effects if (entry.step, entry.act) == (step, act))

    def net(self, step: str) -> int:
        """What is left of a step."""
        return self.count(step, "do") - self.count(step, "undo")

    def heard(self, book: str) -> Counter[str]:
        """The facts in a subscriber's book."""
        return Counter(entry.step for entry in self.told if entry.book == book)

    @property
    def is_cruise(self) -> bool:
        """Whether it has nodes in its nodes."""
        return self.script.startswith(CRUISE)

    @property
    def is_expedition(self) -> bool:
        """Whether it is spoken to."""
        return self.script.startswith(EXPEDITION)

    @property
    def sailed(self) -> bool:
        """Whether the pivot was carried out."""
        return self.net("sail") > 0


def read_sqlite(path: Path, book: str) -> Iterator[tuple[int, Entry]]:
    """A book on SQLite, by voyage. A service that never had anything to enter has none."""
    if not path.exists():
        return
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as file:
        for number, *rest in file.execute("SELECT number, step, act, key, attempt, at FROM book ORDER BY id"):
            yield number, Entry(book, *rest)


async def read_redis(url: str) -> list[tuple[int, Entry]]:
    """The books in Redis, by voyage."""
    found: list[tuple[int, Entry]] = []
    async with Redis.from_url(url, decode_responses=True) as client:
        keys = [key async for key in client.scan_iter(match=f"{REDIS_BOOKS}*", count=5000)]
        for start in range(0, len(keys), 1000):
            await _read_lists(client, keys[start : start + 1000], found)
    return found


async def _read_lists(client: Redis, keys: list[str], found: list[tuple[int, Entry]]) -> None:
    async with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.lrange(key, 0, -1)
        for key, entries in zip(keys, await pipe.execute(), strict=True):
            _, book, number = key.split(":")
            found += [(int(number), Entry(book, *json.loads(entry))) for entry in entries]


async def read_dossiers(folder: Path, services: Path, redis_url: str, seed: int) -> dict[int, Dossier]:
    """Every voyage that was asked for, or left a trace, by number."""
    asked, taken = read_starts(folder / "starts.log")
    dossiers = {n: Dossier(n, script_of(seed, n), taken.get(n, "")) for n in sorted(asked)}
    entries = [
        *read_sqlite(services / "fares.db", "fares"),
        *read_sqlite(services / "provider.db", "harbour"),
        *read_sqlite(services / "journal.db", "journal"),
        *await read_redis(redis_url),
    ]
    for number, entry in entries:
        dossier = dossiers.setdefault(number, Dossier(number, script_of(seed, number)))
        (dossier.told if entry.act == "told" else dossier.effects).append(entry)
    for number, said in read_said(folder / "starts.log").items():
        dossiers[number].said = said
    return dossiers


def twice_answered(folder: Path) -> list[str]:
    """Starts of one key that were answered with different ids, and what was answered otherwise the second time."""
    lines = (folder / "starts.log").read_text(errors="replace").splitlines()
    return [line for line in lines if line.startswith(("twice ", "otherwise "))]
