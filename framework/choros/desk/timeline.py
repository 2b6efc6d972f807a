"""A saga instance's history as lines that a person reads."""

from collections.abc import Iterator
from datetime import timedelta
from textwrap import wrap
from typing import Any

from choros.desk.repeats import folded
from choros.runtime.client.account import Account
from choros.runtime.orchestrator.history import Happened, read_history
from choros.saga.diagram import undone_in_words
from choros.saga.machine.instance import Instance
from choros.saga.machine.remains import left_in_doubt, left_standing
from choros.saga.outline import Commanded
from choros.saga.renaming import renaming
from choros.saga.saga import Saga
from choros.wire.own_headers import read

_MARKS = {
    "replied": "✔", "undone": "↩", "refused": "✖", "failed": "!", "timed_out": "!", "retry_scheduled": "…",
    "late_reply": "·", "undeclared_refusal": "!", "parked": "■", "unparked": "▶", "skipped": "»", "paused": "‖",
    "resumed": "▶", "wanted": "·", "too_late": "·", "fact_published": "◇", "fact_held": "·", "fact_dropped": "·",
    "rerun": "▶", "moved": "▶", "asleep": "…", "woken": "▶", "chosen": "◆", "listed": "◆", "repeated": "◆",
    "lost": "↩", "undoing": "↩", "terminating": "■", "terminated": "■", "closed": "»", "left_in_doubt": "?",
    "passed_over": "–", "unreadable": "?", "awaiting": "…", "reminded": "◇", "lapsed": "!", "signalled": "✔",
    "left_standing": "!", "fact_withheld": "·", "by_hand": "»",
    "revocable": "✔", "released": "✔", "never_begun": "–", "start_held": "·", "start_dropped": "·",
    "queued": "…", "lock_taken": "▶", "joined": "»",
    "updated": "◆", "update_refused": "✖",
    "unfinished": "…",
}  # fmt: skip
_WORDS = {
    "failed": "failed", "timed_out": "no answer in time", "late_reply": "late reply, changes nothing",
    "undeclared_refusal": "refused with a code that the command does not declare", "parked": "waits for a person",
    "unparked": "goes on", "skipped": "skipped by a person", "paused": "paused", "resumed": "resumed",
    "wanted": "wanted, if the pivot is refused", "too_late": "too late", "fact_held": "held until the pivot",
    "fact_dropped": "dropped, it did not come true", "rerun": "run again from here, as",
    "moved": "goes on as", "woken": "the sleep is over", "compensating": "is being undone",
    "lost": "lost, is undone by itself", "undoing": "is undone by itself, the saga goes on",
    "started": "started", "passed_over": "passed over, nothing to do",
    "terminating": "is being terminated, nothing is undone", "terminated": "terminated",
    "closed": "closed, it never happens", "left_in_doubt": "in doubt, it cannot be closed",
    "lapsed": "nobody told it in time", "signalled": "told", "reminded": "somebody is reminded",
    "kept": "told early, kept", "not_kept": "told early, not kept: too many were",
    "left_standing": "left standing", "fact_withheld": "withheld, as long as something is left standing",
    "by_hand": "settled by a person",
    "revocable": "done, and may still be undone", "settled": "waits to be released", "released": "released, for good",
    "never_begun": "undone before it was begun", "start_held": "held until nothing is undone any more",
    "start_dropped": "dropped, it is never begun",
    "queued": "waits for the lock", "lock_taken": "has the lock", "joined": "does nothing itself, it is done by",
    "updated": "accepted", "update_refused": "not accepted",
    "unreadable": "what happened here cannot be read",
}  # fmt: skip
_PASSED_OVER = (
    "started", "sent", "pivot_passed", "compensating", "completed", "compensated", "set_aside", "declared", "fact",
)  # fmt: skip

_WIDTH, _WORDS_AT = 80, 46
_INDENT = 6 * " "


def timeline(account: Account, saga: Saga[Any] | None) -> Iterator[str]:
    """Two lines of head, then one for everything that happened; without the declaration, in the words of the history.
    What is too long for a terminal of 80 columns goes on in the next line."""
    record = account.record
    took = (record.updated_at - record.started_at) * 1000
    ended = f"{record.status} in {took:.0f} ms" if account.instance.terminal else record.status
    yield f"{record.key}  {ended}"
    order = undone_in_words(saga.outline) if saga and account.instance.backward else ""
    yield f"  saga {record.saga} v{record.saga_version}, {record.saga_id}{f', undone {order}' if order else ''}"
    if own := read(account.instance.own_headers):
        said = ", ".join(f"{name}={value}" for name, value in own.items())
        yield from wrap(said, _WIDTH, initial_indent="  headers ", subsequent_indent=_INDENT, break_long_words=False)
    names = renaming(account.instance)
    sent: dict[tuple[str, str], float] = {}
    for event, at, times in folded((event, row.at) for row in account.history for event in read_history(row.events)):
        command = names.here(event.step), event.operation
        if event.kind == "sent":
            sent.setdefault(command, at)
        if event.kind not in _PASSED_OVER or event.act or (event.kind == "started" and event.code):
            leaf = saga.outline.commanded(command[0]) if saga else None
            undone = _undone_inside(event, leaf.whom if leaf else "its service")
            words = f"{f'{times} × ' if times > 1 else ''}{_words(event)}{undone}{_signature(event)}"
            yield from _lines(_what(event, leaf, at - sent.get(command, at)), words)
    yield from remains(account.instance, saga)


def remains(instance: Instance, saga: Saga[Any] | None) -> Iterator[str]:
    """What it has left behind, and what it does not say as long as that is so."""
    standing = left_standing(saga.outline, instance) if saga else instance.standing
    doubtful = left_in_doubt(instance) if instance.status == "terminated" else ()
    withheld = [name for name, _ in instance.withheld]
    yield from [f"  left standing: {', '.join(standing)}"] if standing else []
    yield from [f"  in doubt: {', '.join(doubtful)}"] if doubtful else []
    yield from [f"  withheld until that is settled: {', '.join(withheld)}"] if withheld else []


def _lines(what: str, words: str) -> Iterator[str]:
    line = f"{what}  {words}".rstrip()
    if len(line) <= _WIDTH:
        yield line
    else:
        yield what.rstrip()
        yield from wrap(words, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_long_words=False)


def _what(event: Happened, leaf: Commanded | None, seconds: float) -> str:
    name, service = _name(event, leaf), leaf.whom if leaf else ""
    took = f"{seconds * 1000:6.0f} ms" if event.kind in ("replied", "undone", "refused", "failed") else ""
    where = f" {service:<11} {took:>9}" if service or took else ""
    return f"  {_MARKS.get(event.kind, '·')} {name:<20}{where}".ljust(_WORDS_AT)


def _name(event: Happened, leaf: Commanded | None) -> str:
    if event.kind in ("fact_published", "fact_held", "fact_dropped", "fact_withheld"):
        return f"fact {event.code}"
    if event.operation == "undo" and leaf and leaf.undo:
        return leaf.undo.function.__name__
    return event.step or event.code


def _words(event: Happened) -> str:
    again = f"attempt {event.attempt}" if event.attempt > 1 else ""
    match event.kind:
        case "replied":
            return again
        case "undone":
            return f"undo of {event.step} {again}".strip()
        case "refused":
            return f"refused: {event.code}"
        case "retry_scheduled":
            return f"attempt {event.attempt} in {event.seconds:.1f} s"
        case "started" if event.code:
            return "started by this fact"
        case "chosen":
            return f"goes by {event.code}"
        case "asleep":
            return f"sleeps for {timedelta(seconds=round(event.seconds))}"
        case "awaiting":
            about = f" for a fact about {event.code}," if event.code else " for"
            return f"waits{about} {timedelta(seconds=round(event.seconds))} at most"
        case "unfinished":
            return f"taken, finished outside within {timedelta(seconds=round(event.seconds))}"
        case "passed_over" if event.operation == "undo":
            return "nothing to undo"
        case "repeated":
            return f"time {event.code}"
        case "listed":
            return f"for each of {event.code} items"
        case "fact_published":
            return "published, tracked by nobody"
        case kind:
            return f"{_WORDS.get(kind, kind)}{f': {event.code}' if event.code not in ('', event.step) else ''}"


def _undone_inside(event: Happened, service: str) -> str:
    """What the service that refuses has taken back itself; what the saga undoes has lines of its own."""
    return f"; undone inside {service}: {', '.join(event.undone)}" if event.undone else ""


def _signature(event: Happened) -> str:
    """Who did it, and why, where a person did and said so."""
    by, reason = (event.by and f" by {event.by}"), (event.reason and f": {event.reason}")
    return f" ({event.act}{by}{reason})" if event.act else ""
