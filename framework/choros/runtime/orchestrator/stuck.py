"""Instances that an application leaves alone, because it has another declaration of their saga: which, and why."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from choros.errors import DeclaredOtherwise, UsageError
from choros.runtime.orchestrator.history import declared_in
from choros.runtime.orchestrator.recognition import recognise
from choros.saga.difference import difference
from choros.saga.machine.instance import TERMINAL
from choros.saga.saga import Sagas
from choros.store.paging import pages
from choros.store.sagas import LIVE, Kind, KnownKinds, Record, Store, handed_out
from choros.telemetry.logs import get_logger

log = get_logger("choros.orchestrator")

PAGE = 200
_LOOK_AT = 2000
"""Records that are searched for one instance of a kind, to name the difference by."""


@dataclass(frozen=True, slots=True)
class Stranded:
    """Live instances of one kind that are decided by nobody who runs this application."""

    kind: Kind
    count: int
    why: str

    def __str__(self) -> str:
        of = f"saga {self.kind.saga!r} version {self.kind.version} ({self.kind.fingerprint or 'no fingerprint yet'})"
        return f"{self.count} live instance{'' if self.count == 1 else 's'} of {of}: {self.why}"


class Declarations:
    """Those that the instances on a store follow, beside those of this application."""

    def __init__(self, sagas: Sagas, store: Store) -> None:
        self.sagas = sagas
        self._store = store
        self._texts: dict[Kind, str] = {}

    async def text(self, record: Record) -> str:
        """Of the one that the instance follows; empty where its history does not say it. For those of one kind the
        history of any of them is enough. Raises StoreUnreachable."""
        if record.kind not in self._texts:
            self._texts[record.kind] = declared_in(await self._store.history(record.saga_id))
        return self._texts[record.kind]

    async def followed(self, record: Record) -> str:
        """The same; raises UsageError where nothing says it. An old record has no fingerprint, and its history no text:
        it follows what is declared as its version."""
        begun = self.sagas.get((record.saga, record.saga_version))
        text = await self.text(record) or (begun.fingerprint.text if begun and not record.fingerprint else "")
        if not text:
            raise UsageError(
                f"Nothing says how version {record.saga_version} of saga {record.saga!r} was declared.",
                "an application that still has that version, for once.",
            )
        return text

    async def why_stuck(self, record: Record) -> str:
        """Why this application leaves the instance alone, with the difference named; empty where it does not, or where
        the saga has ended."""
        if record.status in TERMINAL:
            return ""
        try:
            recognise(self.sagas, record)
        except DeclaredOtherwise as unlike:
            return _named(self.sagas, record.kind, await self.text(record)) or unlike.sentence
        return ""


def _named(sagas: Sagas, kind: Kind, there: str) -> str:
    saga = sagas.get((kind.saga, kind.version))
    if saga is None:
        known = sorted(version for name, version in sagas if name == kind.saga)
        here = f"here are versions {', '.join(map(str, known))}" if known else "here is no version of it"
        return f"version {kind.version} is not in this application, {here}"
    return difference(saga.fingerprint.text, there) if there else ""


class Watch:
    """Counts the live instances that this worker leaves alone, and says so where that changes."""

    def __init__(self, sagas: Sagas, known: KnownKinds, store: Store) -> None:
        self._sagas = sagas
        self._known = handed_out(known)
        self._store = store
        self._told: Mapping[Kind, int] = {}

    @property
    def count(self) -> int:
        """How many there were at the last look."""
        return sum(self._told.values())

    async def look(self) -> None:
        """Look again; raises StoreUnreachable. By kind alone, so it costs little however many sagas there are."""
        found = {kind: count for kind, count in (await self._store.live()).items() if kind not in self._known}
        for kind in found.keys() - self._told.keys():
            why = _named(self._sagas, kind, await _declared_as(self._store, kind)) or "it is declared otherwise here"
            log.warning("choros.sagas.stranded", reason=str(Stranded(kind, found[kind], why)))
        if self._told and not found:
            log.info("choros.sagas.none_stranded")
        self._told = found


async def _declared_as(store: Store, kind: Kind) -> str:
    """The text of a declaration, out of the history of any live instance of it that is found soon."""
    seen = 0
    async for record in _live(store, kind.saga):
        if record.kind == kind:
            return declared_in(await store.history(record.saga_id))
        seen += 1
        if seen >= _LOOK_AT:
            break
    return ""


async def stranded(sagas: Sagas, store: Store) -> Sequence[Stranded]:
    """All that would be left alone; reads every live record once."""
    counts: Counter[tuple[Kind, str]] = Counter()
    declarations = Declarations(sagas, store)
    async for record in _live(store):
        if why := await declarations.why_stuck(record):
            counts[record.kind, why] += 1
    return [Stranded(kind, count, why) for (kind, why), count in sorted(counts.items())]


async def _live(store: Store, saga: str = "") -> AsyncIterator[Record]:
    for status in LIVE:
        async for records in pages(partial(store.find, saga=saga, status=status, limit=PAGE)):
            for record in records:
                yield record
