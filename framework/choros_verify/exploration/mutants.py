"""Negative controls: the protocol with one rule taken out. An exploration that misses one of them proves nothing.

Each is caught with a story that says why the rule is there. `rules` are numbers of `docs/decisions/0001-rules.md`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from choros.errors import Refused
from choros.runtime.participant.verdicts import CarryOut, Matter, Verdict, concluded, judge, nothing_to_undo
from choros.saga.nodes.each import EachNode
from choros.saga.nodes.parallel import ParallelNode
from choros.saga.orders import FREE
from choros.saga.outline import Commanded, Composite, Limb, Loop, Outline, Publication
from choros.saga.saga import Saga
from choros.saga.undo_order import is_strict, needed_by
from choros.saga.waiting import SignalWait, Sleeping
from choros.store.barrier import NEVER, Row
from choros_verify.exploration import mutated, mutated_locks, mutated_updates, mutated_waits
from choros_verify.exploration import mutated_composites as composites
from choros_verify.exploration import mutated_loops as loops
from choros_verify.exploration import mutated_losers as losers
from choros_verify.exploration import mutated_standing as standing
from choros_verify.exploration import mutated_undo as undoing
from choros_verify.exploration import mutated_unfinished as outside
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.variant import Swap, Variant


@dataclass(frozen=True)
class Mutant:
    """The protocol without one rule."""

    name: str
    rules: tuple[int, ...]
    what: str
    """What is left out, as a sentence."""
    protocol: Protocol = field(default_factory=Protocol)
    swap: Swap | None = None
    needs: str = ""
    """What a saga must have for the rule to matter to it: a step, a pivot, a kind of fact or node; or nothing."""
    providers: bool = False
    """Whether the rule is about effects at a provider."""
    ages: bool = False
    """Whether the rule is about what participants forget."""
    terminates: bool = False
    """Whether the rule is about sagas that a person terminates."""

    def applies(self, saga: Saga[Any]) -> bool:
        """Whether it has what the rule is about."""
        outline = saga.outline
        undone = [leaf for leaf in outline.commands if leaf.undo]
        before = [leaf for leaf in outline.publications if leaf.early or leaf.held]
        has = {
            "": True,
            "step": bool(undone),
            "pivot": bool(outline.pivots),
            "held fact": any(leaf.held for leaf in before),
            "early fact": any(leaf.early for leaf in before),
            "two steps": len(undone) > 1,
            "two commands": len(outline.commands) > 1 or bool(_loops(outline)),
            "sleep": any(isinstance(leaf, Sleeping) for leaf in outline.leaves.values()),
            "wait": any(leaf.signals for leaf in outline.leaves.values()),
            "update": any(one.users for one in outline.updates.values()),
            "queue": saga.lock is not None and saga.lock.when_taken == "queue",
            "join": saga.lock is not None and saga.lock.when_taken == "join",
            "reminder": any(isinstance(leaf, SignalWait) and leaf.reminders for leaf in outline.leaves.values()),
            "existing": any(leaf.existing for leaf in outline.commands),
            "local": any(leaf.local for leaf in outline.commands),
            "finished later": any(leaf.finished_within for leaf in outline.commands if leaf.undo),
            "refusal": any(leaf.refusals for leaf in outline.commands),
            "skipped undo": any(leaf.skips_undo for leaf in outline.commands),
            "result": outline.result is not None,
            "commands side by side": _side_by_side(outline) > 1,
            "steps side by side": _side_by_side(outline, undone=True) > 1,
            "refusal side by side": _side_by_side(outline, refused=True) > 0,
            "choice": bool(_choices(outline)),
            "commands in each branch": any(all(map(_commands, one.limbs)) for one in _choices(outline)),
            "facts in two branches": any(sum(map(_facts, one.limbs)) > 1 for one in _choices(outline)),
            "items": any(one.item is not None for one in _loops(outline)),
            "times": any(one.item is None for one in _loops(outline)),
            "loop": bool(_loops(outline)),
            "losers": any(part.join for part in _composites(outline)),
            "losers, then a pivot": bool(outline.pivots) and any(part.join for part in _composites(outline)),
            "race": any(part.join.startswith("first") for part in _composites(outline)),
            "enough": any(part.join.startswith("at least") for part in _composites(outline)),
            "scope": any(part.alternatives and not part.questions for part in _composites(outline)),
            "dependency": bool(needed_by(outline)),
            "existing, undone freely": outline.undo in FREE and any(leaf.existing for leaf in outline.commands),
            "counted side by side": not is_strict(outline) and _counted(outline) > 1,
            "several in a part": any(_several_tried(part) for part in _parts_for_themselves(outline)),
            "fact": bool(before or outline.completed or outline.compensated),
        }
        return has[self.needs]

    def under(self) -> Protocol:
        """What is explored: this protocol, with a machine of its own where one of its functions is another."""
        if not self.swap:
            return self.protocol
        variant = Variant(self.swap)
        return replace(self.protocol, begin=variant.begin, decide=variant.decide)


def _composites(outline: Outline) -> list[Composite]:
    return [part for part in outline.nodes.values() if isinstance(part, Composite)]


def _choices(outline: Outline) -> list[Composite]:
    return [part for part in _composites(outline) if part.questions]


def _loops(outline: Outline) -> list[Loop]:
    return [part.loop for part in _composites(outline) if part.loop]


def _parts_for_themselves(outline: Outline) -> list[Composite]:
    """Those of which something may be undone while the saga goes on."""
    composites = (part for part in outline.nodes.values() if isinstance(part, Composite))
    return [part for part in composites if part.wins or (part.alternatives and not part.questions)]


def _several_tried(part: Composite) -> bool:
    limbs = part.limbs[:1] if part.alternatives else part.limbs
    undone = ([leaf for one in limb.parts for leaf in one.leaves if isinstance(leaf, Commanded)] for limb in limbs)
    return any(sum(bool(leaf.undo) for leaf in leaves) > 1 for leaves in undone)


def _counted(outline: Outline) -> int:
    """How many nodes there are in which the newest of several ways is undone first."""
    composites = (part for part in outline.nodes.values() if isinstance(part, Composite) and not part.questions)
    return sum(isinstance(part, ParallelNode | EachNode) and part.order == "newest_first" for part in composites)


def _side_by_side(outline: Outline, *, undone: bool = False, refused: bool = False) -> int:
    """In how many ways through one node that takes all of its ways there is such a command, where there are most."""

    def fits(limb: Limb) -> bool:
        commands = (leaf for part in limb.parts for leaf in part.leaves if isinstance(leaf, Commanded))
        return any((leaf.undo or not undone) and (leaf.refusals or not refused) for leaf in commands)

    together = [part for part in _composites(outline) if not part.alternatives and not part.join]
    return max((sum(map(fits, part.limbs)) for part in together if len(part.limbs) > 1), default=0)


def _commands(limb: Limb) -> bool:
    return any(isinstance(leaf, Commanded) for part in limb.parts for leaf in part.leaves)


def _facts(limb: Limb) -> bool:
    return any(isinstance(part, Publication) for part in limb.parts)


# --- mutants of the barrier -------------------------------------------------------------------------------------------


def _again(matter: Matter) -> Verdict:
    operation, done = matter.key.operation, matter.done
    if operation == "do" and done is not None and done.state == "ok":
        return CarryOut()
    return judge(matter._replace(undone=None) if operation == "undo" else matter)


def _deadline_first(matter: Matter) -> Verdict:
    late = matter.key.operation == "do" and matter.late
    return concluded(matter, Refused("expired")) if late else judge(matter)


def _nothing_but_an_intent(matter: Matter) -> Verdict:
    intent = matter.key.operation == "undo" and matter.done is not None and matter.done.state == "intent"
    return nothing_to_undo(matter) if intent else judge(matter)


def _late_do(matter: Matter) -> Verdict:
    return judge(matter._replace(horizon=NEVER) if matter.key.operation == "do" else matter)


def _late_undo(matter: Matter) -> Verdict:
    return judge(matter._replace(horizon=NEVER) if matter.key.operation == "undo" else matter)


def _closed_counts_as_undone(matter: Matter) -> Verdict:
    undone = matter.undone
    late = undone is not None and undone.state == "tombstone" and not undone.owes_reply
    return nothing_to_undo(matter) if matter.key.operation == "undo" and late else judge(matter)


def _no_tombstone(row: Row) -> bool:
    return row.state != "tombstone" or not row.key.endswith(":do")


def _no_ok(row: Row) -> bool:
    return row.state != "ok"


def _no_refusal(row: Row) -> bool:
    return row.state != "refused" or "expired" in row.content


def _no_expired(row: Row) -> bool:
    return row.state != "refused" or "expired" not in row.content


def _without(name: str, rules: tuple[int, ...], swap: Swap, needs: str = "", *, terminates: bool = False) -> Mutant:
    """One whose rule is in the machine: what stands in for that says what is left out."""
    return Mutant(name, rules, swap.instead.__doc__ or "", swap=swap, needs=needs, terminates=terminates)


MUTANTS: tuple[Mutant, ...] = (
    # The ten that reliability stands on.
    Mutant("no dedupe", (1, 15), "A command that comes again is carried out again.",
           Protocol(judge=_again)),
    Mutant("key per attempt", (1,), "Each attempt has a command key of its own.", Protocol(key_per_attempt=True)),
    _without("undo only what completed", (), mutated.undo_only_what_completed, needs="step"),
    Mutant("no tombstone", (3,), "An undo that finds nothing leaves no trace.",
           Protocol(writes=_no_tombstone), needs="step"),
    Mutant("no outbox", (14,), "What a commit is to send, and its timer, are kept in memory only.",
           Protocol(outbox=False)),
    _without("late OK accepted", (8,), mutated.late_ok_accepted, needs="step"),
    Mutant("barrier rows expire", (3,), "The barrier forgets its rows while commands are still on their way.",
           Protocol(rows_expire=True)),
    Mutant("refusal not stored", (15,), "A refusal is answered, but not remembered.",
           Protocol(writes=_no_refusal), needs="refusal"),
    Mutant("ack before commit", (14,), "What came in is acknowledged before it is committed.",
           Protocol(commits_first=False)),
    Mutant("not folded", (7,), "Two inputs of one saga in a batch are decided on the same version.",
           Protocol(folds=False)),
    # One for each further rule that can be seen in a single saga.
    Mutant("deadline before row", (3,), "The deadline is checked before the row is read.",
           Protocol(judge=_deadline_first), needs="step"),
    Mutant("expired not stored", (3,), "A command refused as expired leaves no row.",
           Protocol(writes=_no_expired), needs="step"),
    Mutant("late do carried out", (3,), "A command as old as what its participant has forgotten is carried out.",
           Protocol(judge=_late_do), ages=True),
    Mutant("late undo finds nothing", (3,), "An undo as old as what was forgotten is told that nothing is there.",
           Protocol(judge=_late_undo), needs="step", ages=True),
    _without("undo carries its own deadline", (3,), mutated.undo_carries_its_own_deadline, needs="step"),
    _without("unsent attempts count", (4,), mutated.unsent_attempts_count),
    _without("no timer", (4,), mutated.no_timer),
    _without("old failures count", (8,), mutated.old_failures_count),
    _without("pivot in flight cancelled", (9,), mutated.pivot_in_flight_cancelled, needs="pivot"),
    _without("pivot in doubt compensated", (9,), mutated.pivot_in_doubt_compensated, needs="pivot"),
    _without("in doubt taken for done", (9,), mutated.in_doubt_taken_for_done),
    _without("pause not checked", (13,), mutated.pause_not_checked),
    Mutant("provider without key", (16,), "A provider is called again without an idempotency key.",
           Protocol(provider_keys=False), providers=True),
    Mutant("intent taken for nothing", (16,), "An undo that finds an intent answers that there is nothing to undo.",
           Protocol(judge=_nothing_but_an_intent), needs="step", providers=True),
    Mutant("unknown taken for nothing", (16,), "A provider that knows nothing of a call is taken not to do it.",
           Protocol(provider_cancels=False), needs="step", providers=True),
    _without("skip without close", (17,), mutated.skip_without_close),
    _without("facts not numbered", (18,), mutated.facts_not_numbered, needs="fact"),
    _without("facts twice", (18,), mutated.facts_twice, needs="fact"),
    _without("held facts leave early", (19,), mutated.held_facts_leave_early, needs="held fact"),
    _without("held facts outlive compensation", (19,), mutated.held_facts_outlive_compensation, needs="held fact"),
    _without("early fact not taken back", (19,), mutated.early_fact_not_taken_back, needs="early fact"),
    _without("result not kept", (), mutated.result_not_kept, needs="result"),
    _without("existing undone as if done", (3,), mutated.undone_as_if_it_had_been_done, needs="existing"),
    _without("existing left standing", (3,), mutated.existing_left_standing, needs="existing"),
    Mutant("local without its row", (15, 44), "What a local step has done leaves no row beside it.",
           Protocol(writes=_no_ok), needs="local"),
    _without("local done once sent", (44,), mutated.local_done_once_sent, needs="local"),
    _without("local left standing", (44,), mutated.local_left_standing, needs="local"),
    _without("sleep cut short", (4,), mutated.sleep_cut_short, needs="sleep"),
    _without("sleep without end", (4,), mutated.sleep_without_end, needs="sleep"),
    _without("sleep decided anew", (4,), mutated.sleep_decided_anew, needs="sleep"),
    _without("sleep not cancelled", (4,), mutated.sleep_not_cancelled, needs="sleep"),
    _without("early signal dropped", (27,), mutated_waits.early_signal_dropped, needs="wait"),
    _without("early signal not taken", (27,), mutated_waits.early_signal_not_taken, needs="wait"),
    _without("late signal acted on", (27,), mutated_waits.late_signal_acted_on, needs="wait"),
    _without("signal not taken in time", (27,), mutated_waits.signal_outlived_by_its_wait, needs="wait"),
    _without("wait without end", (4,), mutated_waits.wait_without_end, needs="wait"),
    _without("lapsed with the reminder", (4,), mutated_waits.lapsed_with_the_reminder, needs="reminder"),
    _without("reminded twice", (18,), mutated_waits.reminded_again_and_again, needs="reminder"),
    _without("wait not cancelled", (4,), mutated_waits.wait_not_cancelled, needs="wait"),
    Mutant("finished after its undo", (16,), outside.also_when_undone.__doc__ or "",
           Protocol(finishes=outside.also_when_undone), needs="finished later"),
    Mutant("finished twice", (8,), outside.also_when_answered.__doc__ or "",
           Protocol(finishes=outside.also_when_answered), needs="finished later"),
    Mutant("unfinished taken for done", (16,), outside.taken_for_done.__doc__ or "",
           Protocol(judge=outside.taken_for_done), needs="finished later"),
    Mutant("unfinished not withdrawn", (16,), outside.not_withdrawn.__doc__ or "",
           Protocol(judge=outside.not_withdrawn), needs="finished later"),
    _without("unfinished without end", (4,), outside.never_given_up, needs="finished later"),
    _without("asked without end", (4,), outside.asked_without_end, needs="finished later"),
    _without("asked as tried again", (8,), outside.asked_as_tried_again, needs="finished later"),
    _without("given up for being asked", (4,), outside.given_up_for_being_asked, needs="finished later"),
    _without("update answered and not kept", (27,), mutated_updates.update_answered_and_not_kept, needs="update"),
    _without("update applied twice", (27,), mutated_updates.update_applied_twice, needs="update"),
    _without("update judged on an old view", (11, 27), mutated_updates.update_judged_on_an_old_view, needs="update"),
    _without("begun without its lock", (46,), mutated_locks.begun_without_its_lock, needs="queue"),
    _without("queued without end", (5,), mutated_locks.queued_without_end, needs="queue"),
    _without("joined as if undone", (8,), mutated_locks.joined_as_if_undone, needs="join"),
    _without("terminated without closing", (17,), mutated.terminated_without_closing, terminates=True),
    _without("terminated goes on", (17,), mutated.terminated_goes_on, terminates=True),
    Mutant("closed undo finds nothing", (17,),
           "An undo that comes after its own close is told that nothing is there, although its effect stands.",
           Protocol(judge=_closed_counts_as_undone), needs="step", terminates=True),
    _without("refused branch joined", (), composites.refused_branch_joined, needs="refusal side by side"),
    _without("open sibling not in doubt", (), composites.open_sibling_not_in_doubt, needs="steps side by side"),
    _without("in doubt undone last", (), composites.in_doubt_undone_last, needs="steps side by side"),
    _without("undo by declaration", (), composites.undo_by_declaration, needs="steps side by side"),
    _without("unsent of one counts for all", (4,), composites.unsent_of_one_counts_for_all,
             needs="commands side by side"),
    _without("a walk for each input", (), composites.a_walk_for_each_input, needs="step"),
    _without("another branch", (), composites.another_branch, needs="choice"),
    _without("branch decided twice", (), composites.branch_decided_twice, needs="commands in each branch"),
    _without("facts of all branches", (), composites.facts_of_all_branches, needs="facts in two branches"),
    _without("key without index", (1,), loops.key_without_index, needs="loop"),
    _without("items listed anew", (1,), loops.items_listed_anew, needs="items"),
    _without("over with the first item", (), loops.over_with_the_first_item, needs="items"),
    _without("all items at once", (), loops.all_items_at_once, needs="items"),
    _without("items undone in their order", (), loops.items_undone_in_their_order, needs="items"),
    _without("last time undone only", (), loops.last_time_undone_only, needs="times"),
    _without("answer not kept", (), loops.answer_not_kept, needs="times"),
    _without("enough after the first time", (), loops.enough_after_the_first_time, needs="times"),
    _without("times not counted", (), loops.times_not_counted, needs="times"),
    _without("replies folded away", (43,), loops.replies_folded_away, needs="two commands"),
    _without("loser left standing", (26,), losers.loser_left_standing, needs="losers"),
    _without("nobody loses", (26,), losers.nobody_loses, needs="race"),
    _without("pivot before losers are undone", (25,), losers.pivot_before_losers_are_undone,
             needs="losers, then a pivot"),
    _without("any number may fail", (), losers.any_number_may_fail, needs="enough"),
    _without("undo of a loser unparked", (36,), losers.undo_of_a_loser_unparked, needs="losers"),
    _without("scope left standing", (), losers.scope_left_standing, needs="scope"),
    _without("other way at once", (), losers.other_way_at_once, needs="scope"),
    _without("scope undone by its other way only", (), losers.scope_undone_by_its_other_way_only, needs="scope"),
    _without("scope catches a cancel", (), losers.scope_catches_a_cancel, needs="scope"),
    _without("undo before what needs it", (), undoing.undo_before_what_needs_it, needs="dependency"),
    _without("existing undone with the others", (), undoing.existing_undone_with_the_others,
             needs="existing, undone freely"),
    _without("one count for all", (), undoing.one_count_for_all, needs="counted side by side"),
    _without("part undone oldest first", (), undoing.part_undone_oldest_first, needs="several in a part"),
    _without("undo skipped without close", (17, 47), standing.undo_skipped_without_close, needs="skipped undo"),
    _without("left standing but not said", (47,), standing.left_standing_but_not_said, needs="skipped undo"),
    _without("clean undo claimed", (47,), standing.clean_undo_claimed, needs="skipped undo"),
    _without("stops at what is left standing", (47,), standing.stops_at_what_is_left_standing, needs="skipped undo"),
    _without("settled without close", (17, 47), standing.settled_without_close, needs="step", terminates=True),
    _without("settled and not told", (47,), standing.settled_and_not_told, needs="skipped undo", terminates=True),
    _without("settled as it was left", (47,), standing.settled_as_it_was_left, needs="skipped undo", terminates=True),
    _without("undo does not wait", (), mutated.undo_does_not_wait, needs="two steps"),
    _without("undo oldest first", (), mutated.undo_oldest_first, needs="two steps"),
)  # fmt: skip
