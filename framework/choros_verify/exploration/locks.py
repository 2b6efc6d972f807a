"""Every interleaving of a few sagas under locks, and of what follows their commits, lost with its process or not.

The machine and the rows are those that run in earnest. What reads and writes rows is played here in its steps (read the
row, look who is over, compare and set), since between any two of them anything else may happen.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from choros.messages import Done, Failure, Message
from choros.runtime.orchestrator.lock_row import FREE, LockRow
from choros.saga.machine.inputs import Answered, CancelRequested, Input, LockTold, TimerFired
from choros.saga.machine.instance import Instance
from choros.saga.machine.locks import locked
from choros.saga.machine.machine import begin, decide
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey

NOW = 0.0
IsOver = Callable[[Instance], bool]


@dataclass(frozen=True, slots=True)
class KeyErrand:
    """What follows a commit: a saga asks for its keys, or leaves them; or somebody looks at one."""

    kind: Literal["ask", "leave", "look"]
    saga_id: str
    keys: tuple[str, ...]
    """Those that are left."""
    row: LockRow | None = None
    """What was read."""
    over: frozenset[str] | None = None
    """Who was over then, of those in it."""


@dataclass(frozen=True, slots=True)
class LockMoment:
    """All that there is at one moment."""

    sagas: tuple[Instance, ...]
    rows: tuple[tuple[str, LockRow], ...] = ()
    errands: frozenset[KeyErrand] = frozenset()
    told: frozenset[tuple[str, LockTold]] = frozenset()
    crashes: int = 1
    cancels: int = 1
    lapses: int = 1
    """How many may still happen."""

    def row(self, key: str) -> LockRow:
        """The row of this key."""
        return dict(self.rows).get(key, FREE)

    def saga(self, saga_id: str) -> Instance:
        """The saga of this id."""
        return next(one for one in self.sagas if one.saga_id == saga_id)


class LockMove(NamedTuple):
    """Something that may happen next."""

    what: str
    after: LockMoment


@dataclass(frozen=True)
class LockWorld:
    """The sagas to be explored."""

    saga: Saga[Any]
    starts: Sequence[Message]
    is_over: IsOver = lambda instance: instance.terminal
    crashes: int = 1
    cancels: int = 1
    lapses: int = 1
    _moments: dict[LockMoment, list[LockMove]] = field(default_factory=dict)

    def first(self) -> LockMoment:
        """All of them are created, and have asked for nothing."""
        assert self.saga.lock
        sagas = []
        for number, start in enumerate(self.starts):
            lock = locked(self.saga.lock, start, NOW)
            made = begin(self.saga.tree, f"s{number}", start.to_json(), NOW, cause="start", lock=lock)
            sagas.append(made.instance)
        errands = frozenset(_asking(one) for one in sagas)
        return LockMoment(tuple(sagas), (), errands, frozenset(), self.crashes, self.cancels, self.lapses)

    def explore(self, *, all_of_it: bool = True) -> list[str]:
        """What is wrong in any moment that can come, each thing once; or the first thing that is found."""
        found: dict[str, None] = {}
        waiting = deque([self.first()])
        while waiting:
            moment = waiting.pop()
            if moment in self._moments:
                continue
            moves = [move for move in self._moves(moment) if move.after != moment]
            self._moments[moment] = moves
            for move in moves:
                found |= dict.fromkeys(_wrong(moment, move.after, self.most))
                waiting.append(move.after)
            if found and not all_of_it:
                break
        return [*found, *(self._stuck() if not found else ())]

    @property
    def moments(self) -> int:
        """How many were seen."""
        return len(self._moments)

    @property
    def most(self) -> int:
        """So many may wait for a key."""
        lock = self.saga.lock
        return lock.most if lock and lock.when_taken == "queue" else 0

    def _stuck(self) -> Iterator[str]:
        """From every moment there must be a way to the end of all, after which nothing waits. A row that names one that
        is over is free, so it may be left."""
        before: dict[LockMoment, list[LockMoment]] = defaultdict(list)
        for moment, moves in self._moments.items():
            for move in moves:
                before[move.after].append(moment)
        over = (one for one in self._moments if all(each.terminal for each in one.sagas))
        good = deque(one for one in over if not any(row.contended for _, row in one.rows))
        reached = set(good)
        while good:
            for moment in before[good.popleft()]:
                if moment not in reached:
                    reached.add(moment)
                    good.append(moment)
        if any(one not in reached for one in self._moments):
            yield "a saga waits for ever, or a key is held for ever"

    # --- what may happen ---

    def _moves(self, moment: LockMoment) -> Iterator[LockMove]:
        for errand in moment.errands:
            yield LockMove(f"{errand.kind} of {errand.saga_id}", self._run(moment, errand))
        for saga_id, told in moment.told:
            left = replace(moment, told=moment.told - {(saga_id, told)})
            yield LockMove(f"{saga_id} is told: {told.word}", self._give(left, saga_id, told))
        for instance in moment.sagas:
            yield from self._of_saga(moment, instance)
        if moment.crashes and (moment.errands or moment.told):
            crashed = replace(moment, errands=frozenset(), told=frozenset(), crashes=moment.crashes - 1)
            yield LockMove("the process is killed", crashed)
        yield from self._nets(moment)

    def _of_saga(self, moment: LockMoment, instance: Instance) -> Iterator[LockMove]:
        saga_id = instance.saga_id
        for path, state in instance.nodes.items():
            leaf = self.saga.outline.commanded(path)
            if state.leg and leaf:
                key = CommandKey(saga_id, path, state.round, state.leg.operation)
                answers = [Answered(f"ok {key}", key, 1, "ok", Done().to_json())]
                if state.leg.operation == "do":
                    code = next(iter(leaf.command_of().refusals), "")
                    no = Failure(code=code).to_json()
                    answers += [Answered(f"no {key}", key, 1, "refused", no, code)] if code else []
                for answer in answers:
                    yield LockMove(answer.id, self._give(moment, saga_id, answer))
        if moment.cancels and not instance.terminal:
            left = replace(moment, cancels=moment.cancels - 1)
            yield LockMove(f"{saga_id} is cancelled", self._give(left, saga_id, CancelRequested("cancel")))
        if moment.lapses and instance.queued and instance.lock and instance.lock.until and not instance.terminal:
            left = replace(moment, lapses=moment.lapses - 1)
            yield LockMove(f"{saga_id} has waited enough", self._give(left, saga_id, TimerFired(), instance.lock.until))

    def _nets(self, moment: LockMoment) -> Iterator[LockMove]:
        """What comes round by itself, when nothing else does."""
        if moment.errands or moment.told:
            return
        for instance in moment.sagas:
            if instance.queued and instance.lock and instance.lock.ask_at is not None and not instance.terminal:
                yield LockMove("asks again", replace(moment, errands=frozenset([_asking(instance)])))
        for key, row in moment.rows:
            if row.contended:
                yield LockMove("looks", replace(moment, errands=frozenset([KeyErrand("look", "", (key,))])))

    def _give(self, moment: LockMoment, saga_id: str, given: Input, now: float = NOW) -> LockMoment:
        """The saga takes it in; what follows that commit is under way."""
        before = moment.saga(saga_id)
        after = decide(self.saga.tree, before, [given], now).instance
        sagas = tuple(after if one.saga_id == saga_id else one for one in moment.sagas)
        moment = replace(moment, sagas=sagas)
        if after.terminal and after.lock and (not before.terminal or isinstance(given, LockTold)):
            return replace(moment, errands=moment.errands | {KeyErrand("leave", saga_id, after.lock.keys)})
        return moment

    # --- the steps of an errand ---

    def _run(self, moment: LockMoment, errand: KeyErrand) -> LockMoment:
        left = replace(moment, errands=moment.errands - {errand})
        row = moment.row(errand.keys[0])
        if errand.row is None:
            return _with(left, replace(errand, row=row))
        if errand.over is None:
            over = frozenset(one.saga_id for one in moment.sagas if one.saga_id in row.named and self.is_over(one))
            return _with(left, replace(errand, over=over))
        if row != errand.row:
            return _with(left, replace(errand, row=None, over=None))
        return self._written(left, errand, row, self._changed(errand, row, errand.over))

    def _changed(self, errand: KeyErrand, row: LockRow, over: frozenset[str]) -> LockRow:
        match errand.kind:
            case "ask":
                return row.without(over - {errand.saga_id}, NOW).asked(errand.saga_id, NOW, self.most)
            case "leave":
                return row.without({errand.saga_id, *over}, NOW) if errand.saga_id in row.named else row
            case _:
                return row.without(over, NOW)

    def _written(self, moment: LockMoment, errand: KeyErrand, row: LockRow, after: LockRow) -> LockMoment:
        key, rest = errand.keys[0], errand.keys[1:]
        rows = {**dict(moment.rows), key: after}
        moment = replace(moment, rows=tuple(sorted((k, r) for k, r in rows.items() if r.holder)))
        if after.holder not in ("", row.holder, errand.saga_id) or (errand.kind == "look" and after.holder):
            moment = self._woken(moment, key, after)
        if errand.kind == "ask":
            return self._asked(moment, errand, after)
        return _with(moment, KeyErrand(errand.kind, errand.saga_id, rest)) if rest else moment

    def _woken(self, moment: LockMoment, key: str, row: LockRow) -> LockMoment:
        holder = moment.saga(row.holder)
        if holder.queued and not holder.terminal:
            return _with(moment, _asking(holder))
        known = {**dict(moment.rows), key: replace(row, handed_on=False)}
        return replace(moment, rows=tuple(sorted(known.items())))

    def _asked(self, moment: LockMoment, errand: KeyErrand, row: LockRow) -> LockMoment:
        key, rest = errand.keys[0], errand.keys[1:]
        if row.holder == errand.saga_id and rest:
            return _with(moment, KeyErrand("ask", errand.saga_id, rest))
        if row.holder == errand.saga_id:
            told = LockTold("taken")
        else:
            told = LockTold("waiting" if errand.saga_id in row.named else "refuse", key, row.holder)
        return replace(moment, told=moment.told | {(errand.saga_id, told)})


def _with(moment: LockMoment, errand: KeyErrand) -> LockMoment:
    return replace(moment, errands=moment.errands | {errand})


def _asking(instance: Instance) -> KeyErrand:
    assert instance.lock
    return KeyErrand("ask", instance.saga_id, instance.lock.keys)


def _wrong(before: LockMoment, after: LockMoment, most: int) -> Iterator[str]:
    """46: one at a time, in the order in which they asked, and no more wait than may."""
    live = [one for one in after.sagas if one.lock and one.lock.taken and not one.terminal]
    held: dict[str, str] = {}
    for one in live:
        for key in one.lock.keys if one.lock else ():
            if held.setdefault(key, one.saga_id) != one.saga_id:
                yield "two sagas have one key"
    was: Mapping[str, LockRow] = dict(before.rows)
    for key, row in after.rows:
        if len(row.waiting) > most:
            yield "more wait than may"
        line = [one.saga_id for one in was[key].waiting if not before.saga(one.saga_id).terminal] if key in was else []
        if line and row.holder not in (was[key].holder, line[0]):
            yield "one that asked later is first"
