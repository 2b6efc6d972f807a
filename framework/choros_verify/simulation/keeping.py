"""What the applications of a world keep their sagas and their rows in, as the world sees it from outside."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import astuple, dataclass
from typing import Any, Protocol

from choros.store.barrier import Database, Row
from choros.store.sagas import Record, Store, Transition
from choros_verify.simulation.processes import Process

LEDGER = "choros.simulation.ledger"
TAKEN_BACK = "taken back"
"""The kind of a line that says that its handler has itself taken back, in the same transaction, what the last line of
this key says."""
"""Where handlers write down what they do."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One line of a ledger."""

    number: int
    """In the order of the whole world."""
    at: float
    service: str
    saga_id: str
    what: str
    """The command's key, or the id of a fact."""
    kind: str
    """do, undo, or fact; or `TAKEN_BACK`."""
    by: str
    """The process that did it, or had it done."""

    def line(self) -> str:
        """As text, for databases that keep nothing else."""
        return f"{json.dumps(astuple(self))}\n"


def standing(deeds: Iterable[Deed]) -> list[Deed]:
    """Those that no handler has taken back itself, in their order."""
    left: list[Deed] = []
    for deed in sorted(deeds, key=lambda deed: deed.number):
        if deed.kind != TAKEN_BACK:
            left.append(deed)
        elif last := [one for one in left if one.what == deed.what][-1:]:
            left.remove(last[0])
    return left


def deeds_of(text: str) -> list[Deed]:
    """What stands in these lines."""
    return [Deed(*json.loads(line)) for line in text.splitlines()]


@dataclass(frozen=True, slots=True)
class Deleted:
    """A record that retention has deleted."""

    at: float
    """By the loop's clock."""
    record: Record
    sends: bool
    """Whether a message of it had not left."""


OnCommit = Callable[[str, Transition], None]
"""Called with the name of the process."""


class KeptSagas(Protocol):
    """The saga store of an application."""

    @property
    def identity(self) -> str:
        """What tells it from every other store."""

    def view(self) -> Store:
        """What a process that starts has of it."""

    def records(self) -> Mapping[str, Record]:
        """What there is, and what was deleted, as it was."""

    def deleted(self) -> Mapping[str, Deleted]:
        """What retention has deleted, as it was."""

    def outbox(self) -> Sized:
        """All that no broker has confirmed."""


class KeptRows(Protocol):
    """The database of a service, or of all subscribers."""

    def view(self, name: str) -> Database:
        """What a process that starts has of it, by the name that faults call it there."""

    def rows(self) -> Mapping[str, Row]:
        """The rows of the barrier."""

    def owes(self) -> bool:
        """Whether a reply is not confirmed."""

    def deeds(self) -> Sequence[Deed]:
        """What handlers have written into the ledger."""


class Keeping(Protocol):
    """All stores and databases of a world."""

    def sagas(self, name: str, namespace: str, identity: str) -> KeptSagas:
        """The saga store of that name; another namespace sees other sagas in it."""

    def rows(self, name: str, namespace: str) -> KeptRows:
        """The database of that name; another namespace has other rows in it."""

    async def write(self, db: Any, deed: Deed) -> None:
        """Write a line into the ledger that lies in a handler's database.

        The worst of handlers does it: what it cannot read it takes for empty, what it cannot write for written."""

    def crashed(self, process: Process) -> None:
        """This process is no more."""

    def end(self) -> None:
        """Let go of what the world has used outside of it."""


async def opened(kept: KeptSagas | None) -> Store | None:
    """As a process that starts has it."""
    if kept is None:
        return None
    store = kept.view()
    await store.open()
    return store
