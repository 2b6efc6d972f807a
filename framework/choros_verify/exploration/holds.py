"""What must hold, read off the participants' accounts, the network and the store: never off what a saga says of itself.

The numbers in reports:

1. The net effect of each step is nothing or one, at all times; what was refused for good never happens.
2. Completed: every step has its effect, once; then alone there is a result, where one is declared.
3. Compensated: no step has one, but for those whose undo was closed, and which it says it has left standing; a pivot
   that may have happened is never undone.
4. Each step begins when those before it have taken effect, and is undone when none can still stand that its undo waits
   for. Only what stands side by side, or waits for nothing, is under way together. A choice is decided once, as its
   questions say, and nothing of its other branches ever has an effect.
5. Nothing waits for ever: timers alone bring a saga to an end or to a person. A paused saga sends nothing. A sleep
   ends at the moment that was decided when it began. What is finished from outside has until its bound, however often
   it is asked what became of it.
8. Facts: one set for each end, numbered one by one, none before it is true, and none of an undo that has left something
   standing. A late reply changes nothing.
9. Each version is made once, by an edge that there is.
11. Nothing is acknowledged before it is committed.
12. Terminated: what is said to stand stands, and nothing else does or will; of what is in doubt nothing is said.
27. Signals: one that is awaited counts, the first alone; one that came early is not lost. A wait lapses at its end.
    Updates: each is answered once; what is accepted is kept, and (11) nothing that was sent has used it.
"""

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from choros.messages import UNFINISHED
from choros.saga.machine.inputs import Answered, CancelRequested, Decision, Input, Release, TimerFired
from choros.saga.machine.instance import Instance, NodeState
from choros.saga.outline import Commanded, Composite, Limb, Outline, Publication, SagaPart
from choros.saga.parameters import Builder
from choros.saga.paths import declared, stands_in
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait
from choros.wire.command_key import Operation
from choros_verify.exploration.beside import given_up, wrong
from choros_verify.exploration.books import Books
from choros_verify.exploration.locked import asks_for_lock, has_joined, queueing
from choros_verify.exploration.signals import signals
from choros_verify.exploration.times import NOW
from choros_verify.exploration.updates import updates
from choros_verify.exploration.violation import Violation as Violation
from choros_verify.exploration.violation import hold
from choros_verify.exploration.ways import branch_due, holds_leaf, partly, together_in, undone_with, waits

EDGES = {
    "running": {"running", "compensating", "completed", "compensated", "parked", "terminated"},
    "compensating": {"compensating", "compensated", "parked", "terminated"},
    "parked": {"parked", "running", "compensating", "completed", "compensated", "terminated"},
    "completed": {"completed"},
    "compensated": {"compensated"},
    "terminated": {"terminated"},
}


# --- one decision -----------------------------------------------------------------------------------------------------


def decision(saga: Saga[Any], before: Instance, decided: Decision, inputs: Sequence[Input]) -> Violation | None:
    """What is wrong with a decision, whatever led to it; `before` is at `NOW`."""
    try:
        _decision(saga, before, decided, inputs)
    except Violation as violation:
        return violation
    return None


def _decision(saga: Saga[Any], before: Instance, decided: Decision, inputs: Sequence[Input]) -> None:
    after = decided.instance
    hold(after.status in EDGES[before.status], f"a saga that was {before.status} became {after.status}", 9)
    legs = [path for path, state in after.nodes.items() if state.leg]
    most = max(1, len(inputs))  # folded inputs may send what each of them would have sent
    sends = Counter(send.key.path for send in decided.sends)
    together = all(together_in(saga.outline, after, *pair) for pair in combinations({*legs, *sends}, 2))
    alone = len(legs) <= 1 and sends.total() <= most
    freely = partly(saga.outline) or after.terminating
    hold(alone or freely or together, "two commands are awaited at once", 4)
    hold(max(sends.values(), default=0) <= most, "a command is sent twice", 4)
    for sentence in wrong(saga.outline, before, decided, inputs):
        raise Violation(sentence, 4)
    if after.terminal:
        hold(after.wake_at is None and not legs, "a saga at its end still waits for something", 5)
        due = after.status == "completed" and saga.outline.result is not None
        hold(bool(after.result) == due, f"the saga is {after.status}, and its result is {after.result or 'none'}", 2)
    elif after.paused:
        hold(not decided.sends or len(inputs) > 1, "a command is sent although the saga is paused", 5)
    elif after.status != "parked":
        awake = asks_for_lock(after) or any(state.due is not None for state in after.nodes.values())
        hold(awake, "nothing will ever wake the saga: it waits for ever", 5)
    numbers = [fact.seq for fact in decided.facts]
    hold(numbers == list(range(before.seq + 1, after.seq + 1)), "the facts are not numbered one after the other", 8)
    hold(Instance.loads(after.dumps()) == after, "what is stored of the saga does not read back as it was", 5)
    hold(not decided.strays, "a true reply was taken for a stray", 5)
    _attempts(before, after, inputs)
    _not_yet(before, after, inputs)
    _sleeps(before, after)
    signals(saga.outline, before, decided, inputs)
    updates(saga.outline, before, decided, inputs)
    queueing(before, decided, inputs)
    _terminates(after, decided, inputs)
    _choices(saga, before, after)
    _pivot(saga, before, after)
    _withdrawn(saga, before, after, inputs)


def _not_yet(before: Instance, after: Instance, inputs: Sequence[Input]) -> None:
    """Who asks, before its bound, what became of a command, and is told that it goes on, goes on waiting."""
    if len(inputs) == 1 and isinstance(told := inputs[0], Answered) and told.code == UNFINISHED:
        was = before.state(told.key.path).leg
        if was and was.asks_next:
            leg = after.state(told.key.path).leg
            hold(leg == was, "what is not finished yet was given up before its bound", 5)


def _attempts(before: Instance, after: Instance, inputs: Sequence[Input]) -> None:
    """A command that has not left yet spends no attempt by waiting for the broker. One that has does, by silence."""
    if len(inputs) != 1 or not isinstance(inputs[0], TimerFired) or after.backward != before.backward:
        return
    for path, was in before.nodes.items():
        if not was.leg or was.leg.due is None or before.paused:
            continue
        leg = after.state(path).leg
        turned = leg is None or leg.operation != was.leg.operation  # with the part of the saga that it stands in
        same = not turned and leg is not None and leg.due is not None and leg.attempt == was.leg.attempt
        if path in inputs[0].unsent and not was.leg.waiting:
            hold(same or turned, "a command that never left spent an attempt", 5)
        elif was.leg.asks_next:
            hold(same or turned, "who only asks what became of a command spent an attempt", 5)
        else:
            hold(not same or was.leg.due > NOW, "a command that nobody answered in time spent no attempt", 5)


def _terminates(after: Instance, decided: Decision, inputs: Sequence[Input]) -> None:
    """Of a saga that is terminated nothing leaves but closes; and it does not end while a key is open."""
    if not after.terminating:
        return
    closes = all(send.key.operation == "close" for send in decided.sends)
    hold((closes and not decided.facts) or len(inputs) > 1, "a saga that is terminated sends something", 5)
    for path, state in after.nodes.items():
        hold(not after.terminal or state.progress != "sent", f"the saga is terminated, and {path} is still open", 5)


def _sleeps(before: Instance, after: Instance) -> None:
    """A sleep ends at the moment that was decided when it began, and not before, unless the saga turns back."""
    for path, was in before.nodes.items():
        there = after.state(path).until
        if after.backward or after.terminating:
            hold(there is None, f"the saga is undone, and still sleeps at {path}", 5)
        elif was.until is not None and was.progress == "asleep":
            hold(there in (None, was.until), f"the moment that {path} sleeps until was decided anew", 5)
            hold(there or was.until <= NOW, f"{path} has slept too short", 5)


def _pivot(saga: Saga[Any], before: Instance, after: Instance) -> None:
    """From the commit that sends the pivot, only its own refusal turns the saga back."""
    progress = [after.state(path).progress for path in saga.outline.pivots] if after.backward else []
    hold(all(one in ("pending", "refused") for one in progress), "a pivot that may have happened is undone", 3)


def _withdrawn(saga: Saga[Any], before: Instance, after: Instance, inputs: Sequence[Input]) -> None:
    """Who cancels in the batch that would send the pivot comes before it, and so does the saga's deadline."""
    wanted = any(isinstance(given, CancelRequested) for given in inputs)
    due = before.deadline is not None and before.deadline <= NOW
    ended = due and any(isinstance(given, TimerFired) for given in inputs)
    if (wanted or ended) and not before.terminal and not after.terminating:
        open_ = [before.state(path).progress not in ("sent", "ok") for path in saga.outline.pivots]
        hold(after.backward or not all(open_), "a cancel before the pivot was sent did not turn the saga", 3)


def _choices(saga: Saga[Any], before: Instance, after: Instance) -> None:
    """A choice is decided once, and as its questions say."""
    for path, state in after.nodes.items():
        part, was = saga.outline.nodes.get(path), before.state(path).choice
        if isinstance(part, Composite) and part.questions and (state.choice or was):
            due = was or (state.choice if "[" in path else branch_due(part, after))  # who asks in an item knows more
            hold(state.choice == due, f"{path} goes by {state.choice or 'nothing'}", 4)


def awaited(instance: Instance, answer: Answered) -> bool:
    """Whether the saga still waits for this reply."""
    state = instance.state(answer.key.path)
    leg = state.leg
    if leg is None:
        return False
    if answer.outcome == "failed":
        waits = leg.due is not None and not leg.waiting
        return waits and (answer.key.operation, answer.attempt) == (leg.operation, leg.attempt)
    if leg.operation == "close" and answer.code == "cancelled":
        return False
    return is_asked(state, answer.key.round, answer.key.operation)


def is_asked(state: NodeState, round_: int, operation: Operation) -> bool:
    """Whether an answer to this command of the step would decide something."""
    leg = state.leg
    if leg is None or round_ != state.round:
        return False
    return operation in ((leg.operation, state.closes) if leg.operation == "close" else (leg.operation,))


# --- a decision and the world around it -------------------------------------------------------------------------------


def sending_do(outline: Outline, books: Sequence[Books], index: int, after: Instance) -> None:
    """A step is begun when all before it have taken effect, or were passed over."""
    path, kept = outline.paths[index], dict(zip(outline.paths, books, strict=True))
    for part in _before(outline.parts, path):
        hold(_is_there(part, kept, after), f"{path} is begun before {part.path} has taken effect", 4)
    for leaf in given_up(outline.parts, path):
        own = kept[leaf.path]
        hold(own.closed or not own.stands, f"{path} is begun while {leaf.path} stands, which it is instead of", 4)


def _before(parts: Sequence[SagaPart], path: str) -> Iterator[SagaPart]:
    """What has to be over before this node: all that stands before it, and before what it stands in."""
    for part in parts:
        if part.path == path:
            return
        if isinstance(part, Composite) and any(leaf.path == path for leaf in part.leaves):
            for limb in part.limbs:
                if any(leaf.path == path for one in limb.parts for leaf in one.leaves):
                    yield from _before(limb.parts, path)
            return
        yield part


def _is_there(part: SagaPart, books: Mapping[str, Books], after: Instance) -> bool:
    """Whether it has taken effect, or was passed over; of a choice, the branch that was taken."""
    if isinstance(part, Composite):
        if part.questions:
            taken = [limb for limb in part.limbs if limb.name == after.state(part.path).choice]
            return bool(taken) and all(_is_there(one, books, after) for limb in taken for one in limb.parts)
        limbs = [all(_is_there(one, books, after) for one in limb.parts) for limb in part.limbs]
        if part.alternatives and len(limbs) == 1 and after.state(part.path).choice == "otherwise":
            return True  # a scope that was undone, and there is no other way
        return sum(limbs) >= (1 if part.alternatives else part.wins or len(limbs))
    if not isinstance(part, Commanded):
        return True
    own = books[part.path]  # what was there before stands until its only command is carried out
    return own.stands is not part.existing or own.closed or _passed_over(part, own, after)


def _passed_over(leaf: Commanded, own: Books, after: Instance) -> bool:
    """Whether its function may say, and has said, that there is nothing to do; then nobody was ever asked."""
    return leaf.action.optional and own == Books() and after.state(leaf.path).progress == "passed_over"


def _let_stand(leaf: Commanded, own: Books) -> bool:
    """Whether the function that undoes it may say, and has said, that there is nothing to undo."""
    if leaf.existing:
        return leaf.action.optional and own == Books()
    return leaf.undo is not None and leaf.undo.optional and not any(":undo" in row.key for row in own.rows)


def _none_is_left(part: SagaPart, books: Mapping[str, Books], after: Instance) -> bool:
    """Whether each way through it stands whole or not at all, and no more of them than shall."""
    if not isinstance(part, Composite):
        return True
    limbs = [all(_is_there(one, books, after) for one in limb.parts) for limb in part.limbs]
    stand = [whole for limb, whole in zip(part.limbs, limbs, strict=True) if _stands(limb, books, after)]
    most = 1 if part.alternatives else part.wins if part.join.startswith("first") else len(limbs)
    few = len(stand) <= most and all(stand)
    return few and all(_none_is_left(one, books, after) for limb in part.limbs for one in limb.parts)


def _stands(limb: Limb, books: Mapping[str, Books], after: Instance) -> bool:
    """Whether anything of it does, but for what the saga says it has left standing."""
    leaves = (leaf for part in limb.parts for leaf in part.leaves if isinstance(leaf, Commanded) and leaf.changes)
    return any(books[leaf.path].stands for leaf in leaves if leaf.path not in after.standing)


def sending_undo(
    outline: Outline, books: Sequence[Books], path: str, coming: Container[str], newest: Container[str], after: Instance
) -> None:
    """A step is undone when none that it waits for stands, or can still come to stand: of those that are undone with
    it, and were begun behind it, or are newer."""
    kept = dict(zip(outline.paths, books, strict=True))
    inside = undone_with(outline, after, path)
    for leaf in outline.commands:
        one = leaf.path
        if not leaf.changes or one == path or (inside and not stands_in(one, inside)) or not waits(outline, path, one):
            continue
        gone = not (kept[one].stands or one in coming) or after.state(one).progress == "standing"
        if one in newest and not leaf.existing:
            hold(gone, f"{path} is undone while {one}, which is newer, may still stand", 4)
        if any(holds_leaf(part, path) for part in _before(outline.parts, one)):
            gone = gone or kept[one].stands or _let_stand(leaf, kept[one]) if leaf.existing else gone
            hold(gone, f"{path} is undone while {one} may still stand", 4)


def choosing(outline: Outline, books: Sequence[Books]) -> None:
    """Of a choice, one branch at most has ever had an effect."""
    kept = dict(zip(outline.paths, books, strict=True))
    for part in outline.nodes.values():
        if isinstance(part, Composite) and part.questions:
            used = [limb for limb in part.limbs if any(_was_there(inner, kept) for inner in limb.parts)]
            hold(len(used) < 2, f"two branches of {part.path} have had an effect", 4)


def _was_there(part: SagaPart, books: Mapping[str, Books]) -> bool:
    return any(books[leaf.path].applied for leaf in part.leaves)


def publishing(outline: Outline, books: Sequence[Books], facts: Sequence[Release], after: Instance) -> None:
    """A fact is published when it is true for good: with the pivot's OK, at the end, or early and taken back."""
    pivots = [books[outline.paths.index(path)] for path in outline.pivots]
    passed = any(pivot.stands or pivot.closed for pivot in pivots)
    early = {leaf.path for leaf in outline.publications if leaf.early}
    for fact in facts:
        reminds = isinstance(outline.leaf(fact.step), SignalWait)  # a wait is as true as can be
        ended = after.status == "completed" or (after.status == "compensated" and not fact.step)
        true = passed or ended or reminds or declared(fact.step) in early
        hold(true, f"{fact.type} is published before it is true", 8)


def ending(outline: Outline, books: Sequence[Books], after: Instance, facts: Sequence[str]) -> None:
    """What an end promises: every effect once and every fact once, or no effect at all."""
    told, kept = ", ".join(facts) or "nothing", dict(zip(outline.paths, books, strict=True))
    if after.status == "terminated":
        _as_it_says(outline, kept, after)
        return
    reminders = {kind.type_name for leaf in _waits(outline) for one in leaf.facts for kind in one.kinds}
    facts = [fact for fact in facts if fact not in reminders]
    due = sorted(_facts_due(outline, after, facts))
    hold(sorted(facts) == due, f"the saga is {after.status}, and it published {told}", 8)
    for part in outline.parts if after.status == "completed" else ():
        hold(_is_there(part, kept, after), f"the saga is completed, but {part.path} has no effect", 2)
        left = f"the saga is completed, but what {part.path} went on without still stands"
        hold(_none_is_left(part, kept, after), left, 3)
    for leaf in outline.commands if after.status == "compensated" else ():
        if leaf.changes:
            gone = kept[leaf.path].stands is leaf.existing or _let_stand(leaf, kept[leaf.path])
            said = gone or leaf.path in after.standing
            hold(said, f"the saga is compensated, but {leaf.path} still stands", 3)
    for path in after.standing:
        hold(
            kept[path].closed or kept[path].horizon > 0,
            f"the saga has left {path} standing, and its undo may come yet",
            3,
        )


def _waits(outline: Outline) -> Sequence[SignalWait]:
    return [leaf for leaf in outline.leaves.values() if isinstance(leaf, SignalWait)]


def _as_it_says(outline: Outline, books: Mapping[str, Books], after: Instance) -> None:
    """What is said to stand stands, and nothing else does; but of what is in doubt nobody knows."""
    for leaf in outline.commands:
        own, progress = books[leaf.path], after.state(leaf.path).progress
        done = ("undone",) if leaf.existing else ("ok", "standing")  # its one command takes back what was there before
        if leaf.changes and progress in done:
            hold(own.stands or own.closed, f"the saga is terminated, and {leaf.path} does not stand as it says", 12)
        elif leaf.changes and progress not in ("in_doubt", "standing"):
            hold(not own.stands, f"the saga is terminated, and {leaf.path} stands behind its back", 12)


def _facts_due(outline: Outline, after: Instance, facts: Sequence[str]) -> list[str]:
    if after.status == "completed":
        published = (leaf for leaf in _published(outline.parts, after))
        own = [_told(leaf, after) for leaf in published if after.state(leaf.path).progress != "passed_over"]
        return own + [fact for one in outline.completed for fact in _any_of(one, facts)]
    early = [leaf for leaf in outline.publications if leaf.undo and _told(leaf, after) in facts]
    taken_back = [fact for leaf in early for fact in (_told(leaf, after), *_taken_back(leaf, facts))]
    closing = () if after.standing or has_joined(after) else outline.compensated
    return taken_back + [fact for one in closing for fact in _any_of(one, facts)]


def _published(parts: Sequence[SagaPart], after: Instance) -> Iterator[Publication]:
    """What is published on the way that the saga has taken."""
    for part in parts:
        if isinstance(part, Publication):
            yield part
        elif isinstance(part, Composite):
            for limb in part.limbs:
                if not part.alternatives or after.state(part.path).choice == limb.name:
                    yield from _published(limb.parts, after)


def _told(leaf: Publication, after: Instance) -> str:
    return leaf.fact_of(after.state(leaf.path).choice).type_name


def _taken_back(leaf: Publication, facts: Sequence[str]) -> Sequence[str]:
    return _any_of(leaf.undo, facts) if leaf.undo else ()


def _any_of(builder: Builder, facts: Sequence[str]) -> Sequence[str]:
    """The one of these that the function chose; nothing where it may build nothing, and none is there."""
    told = [kind.type_name for kind in builder.kinds if kind.type_name in facts][:1]
    return told or ([] if builder.optional else [builder.builds.type_name])
