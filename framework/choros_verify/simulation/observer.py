"""What is written down while a simulation runs: every commit, and what happened to the processes."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from choros.runtime.orchestrator.history import Happened, read_history
from choros.saga.machine.instance import Instance
from choros.store.sagas import Transition


@dataclass(frozen=True, slots=True)
class Commit:
    """A transition that a store took."""

    at: float
    process: str
    transition: Transition


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened in the world itself."""

    at: float
    text: str


class Observer:
    """The commits in their order, the edges of the state machine that they took, and notes."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.commits: list[Commit] = []
        self.notes: list[Note] = []
        self._time = time

    def committed(self, process: str, transition: Transition) -> None:
        """The store took it from this process."""
        if transition.record.application:  # the rows of locks are nobody's
            self.commits.append(Commit(self._time(), process, transition))

    def note(self, text: str) -> None:
        """Something happened."""
        self.notes.append(Note(self._time(), text))

    def edges(self) -> Counter[str]:
        """Every move of a saga's status and of a step's progress, counted."""
        moves: Counter[str] = Counter()
        before: dict[str, Instance] = {}
        for commit in self.commits:
            record = commit.transition.record
            after = Instance.loads(record.state)
            moves.update(_moves(before.get(record.saga_id), after))
            before[record.saga_id] = after
        return moves

    def story(self, names: dict[str, str]) -> Iterator[tuple[float, str]]:
        """The commits and the notes in words; `names` says what to call each saga."""
        for commit in self.commits:
            record = commit.transition.record
            words = [_words(event) for event in read_history(commit.transition.history)]
            saga = names.get(record.saga_id, record.saga_id[:8])
            yield commit.at, f"{commit.process}: {saga} v{record.version}: {', '.join(filter(None, words))}"
        for note in self.notes:
            yield note.at, note.text


def _moves(before: Instance | None, after: Instance) -> Iterator[str]:
    old = before.status if before else "new"
    if old != after.status:
        yield f"saga {old} -> {after.status}"
    if before and before.paused != after.paused:
        yield f"saga {'paused' if after.paused else 'resumed'}"
    yield from _moves_of_lock(before, after)
    for path in dict.fromkeys((*(before.nodes if before else ()), *after.nodes)):
        state, was = after.state(path), before.state(path) if before else None
        progress = was.progress if was else "pending"
        if progress != state.progress:
            yield f"step {progress} -> {state.progress}"
        waiting, waits = bool(was and was.leg and was.leg.waiting), bool(state.leg and state.leg.waiting)
        if waits and not waiting:
            yield "step waits for its next attempt"
        if state.leg and was and was.leg and state.leg.attempt > was.leg.attempt:
            yield f"step sent again ({state.leg.operation})"
        if state.leg and state.leg.operation == "close" and not (was and was.leg and was.leg.operation == "close"):
            yield "step closed"


def _moves_of_lock(before: Instance | None, after: Instance) -> Iterator[str]:
    if after.lock is None:
        return
    if after.lock.taken and not (before and before.lock and before.lock.taken):
        yield "lock taken"
    if after.lock.holder and not (before and before.lock and before.lock.holder):
        yield "lock waited for"
    if after.terminal and after.queued and before and not before.terminal:
        yield "lock not taken"


def _words(event: Happened) -> str:
    parts = (event.operation, event.step, event.kind, event.code)
    return " ".join(part for part in parts if part) if event.kind != "fact" else ""
