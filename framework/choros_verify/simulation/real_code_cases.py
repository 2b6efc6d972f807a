"""What can become of each step of a saga, in every combination, and how the saga must then end."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import Any, Literal, cast, get_args

from choros.saga.outline import Commanded
from choros.saga.saga import Saga
from choros_verify.simulation.script import ScriptLine

Do = Literal[
    "ok",
    "refused",
    "transient",
    "timeout_lands",
    "timeout_never_lands",
    "crash_before_commit",
    "crash_after_commit",
    "reply_lost",
    "reply_twice",
]
"""refused: a definite no; transient: it fails once; timeout_lands: it is done, and the answer comes only after the saga
has given the step up; timeout_never_lands: it is never done, its command arrives too late or not at all; crash: the
participant crashes once, in the middle of its transaction or before its reply has left; reply_lost, reply_twice: the
first reply never arrives, or arrives twice."""
Undoing = Literal["ok", "transient", "stuck"]
"""What all undos of the run do: stuck fails for ever, until a person looks."""
End = Literal["completed", "compensated", "parked"]
DOES: tuple[Do, ...] = get_args(Do)
WITHIN_ONE_PROCESS: tuple[Do, ...] = ("ok", "refused", "transient", "crash_before_commit")
UNDOES: tuple[Undoing, ...] = get_args(Undoing)
MOST = 3_000
"""Beyond so many combinations only all pairs are tried."""
_SELDOM = 10.0
_TWICE = 2.0
_TIMEOUTS = ("timeout_lands", "timeout_never_lands")


@dataclass(frozen=True, slots=True)
class Case:
    """One combination."""

    does: tuple[tuple[str, Do], ...]
    """By the step's name, in the order of the saga."""
    undo: Undoing

    def __str__(self) -> str:
        steps = ", ".join(f"{step}: {do.replace('_', ' ')}" for step, do in self.does)
        return f"{steps}; undo: {self.undo}"

    def script(self, saga: Saga[Any]) -> tuple[ScriptLine, ...]:
        """What the participants do by themselves; the rest happens to their messages and processes."""
        steps = {leaf.path: leaf for leaf in saga.outline.commands}
        lines = []
        for name, do in self.does:
            if do == "refused":
                lines.append(ScriptLine(0, name, "do", "refused", code=steps[name].sure_refusals[0]))
            elif do == "transient":
                lines.append(ScriptLine(0, name, "do", "transient"))
            if self.undo != "ok" and steps[name].undo is not None:
                lines.append(ScriptLine(0, name, "undo", self.undo))
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class Cases:
    """The combinations to try."""

    possible: int
    """How many there are."""
    chosen: Sequence[Case]

    @property
    def complete(self) -> bool:
        """Whether these are all; if not, every two steps meet in every two ways."""
        return len(self.chosen) == self.possible


def cases(saga: Saga[Any], seed: int, most: int = MOST) -> Cases:
    """Every combination, or all pairs if there are more than `most`."""
    steps = [leaf for leaf in saga.outline.commands if not leaf.existing]
    options = [_options(leaf) for leaf in steps]
    undone = any(leaf.undo for leaf in steps)
    choices: list[Sequence[str]] = [*options, UNDOES if undone else UNDOES[:1]]
    possible = prod(len(choice) for choice in choices)
    rows = product(*choices) if possible <= most else all_pairs(choices, random.Random(f"{seed} pairs"))
    names = [leaf.path for leaf in steps]
    return Cases(possible, [_case(names, row) for row in rows])


def _options(leaf: Commanded) -> list[Do]:
    """No message is on its way to a local step, and none back."""
    possible = WITHIN_ONE_PROCESS if leaf.local else DOES
    return [do for do in possible if do != "refused" or leaf.sure_refusals]


def _case(names: Sequence[str], row: Sequence[str]) -> Case:
    *does, undo = row  # from DOES and UNDOES
    return Case(tuple((name, cast(Do, do)) for name, do in zip(names, does, strict=True)), cast(Undoing, undo))


def all_pairs(choices: Sequence[Sequence[str]], chance: random.Random) -> Iterator[tuple[str, ...]]:
    """Rows in which every value of one column meets every value of every other column at least once."""
    left = {
        (i, a, j, b)
        for (i, first), (j, second) in combinations(enumerate(choices), 2)
        for a, b in product(first, second)
    }
    while left:
        row = _row(choices, min(left) if chance.random() < 0.5 else max(left), left, chance)
        left -= _pairs(row)
        yield row


def _row(
    choices: Sequence[Sequence[str]],
    pair: tuple[int, str, int, str],
    left: set[tuple[int, str, int, str]],
    chance: random.Random,
) -> tuple[str, ...]:
    """A row with this pair, in which as many others as possible are new."""
    fixed = {pair[0]: pair[1], pair[2]: pair[3]}
    for column in chance.sample(range(len(choices)), len(choices)):
        if column not in fixed:
            values = chance.sample(list(choices[column]), len(choices[column]))
            fixed[column] = max(values, key=lambda value: _new(fixed, column, value, left))  # used at once
    return tuple(fixed[column] for column in range(len(choices)))


def _new(fixed: dict[int, str], column: int, value: str, left: set[tuple[int, str, int, str]]) -> int:
    return sum(
        ((other, chosen, column, value) if other < column else (column, value, other, chosen)) in left
        for other, chosen in fixed.items()
    )


def _pairs(row: Sequence[str]) -> set[tuple[int, str, int, str]]:
    return {(i, a, j, b) for (i, a), (j, b) in combinations(enumerate(row), 2)}


def must_end(case: Case, saga: Saga[Any]) -> End | None:
    """How the saga must end by what it declares; None where that depends on when things happen, or on
    what a function makes of what it is told."""
    steps = {leaf.path: leaf for leaf in saga.outline.commands}
    if _time_decides(case, saga, steps) or any(
        builder.optional for leaf in steps.values() for builder in leaf.builders
    ):
        return None
    done: list[Commanded] = []
    for name, do in case.does:
        leaf = steps[name]
        if do == "refused":
            return _undone(case, done)
        if do in _TIMEOUTS and "in_doubt" in leaf.turns_on:
            return _undone(case, [*done, leaf] if do == "timeout_lands" else done)
        if do == "timeout_never_lands":
            return "parked"
        done.append(leaf)
    return "completed"


def _time_decides(case: Case, saga: Saga[Any], steps: Mapping[str, Commanded]) -> bool:
    """Whether a policy or the saga's deadline may be used up before what the case says has happened."""
    waits = 0.0
    for name, do in case.does:
        node = steps[name]
        second = _TWICE * _until_the_next_attempt(do, node)
        limited = node.retry.attempts is not None or node.retry.non_retryable or (saga.deadline and do in _TIMEOUTS)
        if limited or second >= node.retry.total.total_seconds():
            return True
        waits += second
    return saga.deadline is not None and waits >= saga.deadline.total_seconds()


def _until_the_next_attempt(do: Do, node: Commanded) -> float:
    if do == "transient":
        return node.retry.initial.total_seconds()
    lost = do in ("crash_before_commit", "crash_after_commit", "reply_lost")
    return node.timeout.total_seconds() + node.retry.initial.total_seconds() if lost else 0.0


def look_every(saga: Saga[Any]) -> float:
    """Seconds between two looks for timers: as seldom as the saga's policies bear, for a run may last hours."""
    spans = [(leaf.timeout.total_seconds(), leaf.retry.total.total_seconds()) for leaf in saga.outline.commands]
    return min([_SELDOM, *(timeout / 3 for timeout, _ in spans), *(total / 20 for _, total in spans)])


def _undone(case: Case, done: Sequence[Commanded]) -> End:
    return "parked" if case.undo == "stuck" and any(leaf.undo for leaf in done) else "compensated"
