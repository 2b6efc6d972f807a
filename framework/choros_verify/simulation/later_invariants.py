"""What must hold of commands that are finished later: by the rows, and by what whoever finished them was answered."""

from collections.abc import Iterator

from choros.store.barrier import Row
from choros.store.sagas import Record
from choros.wire.command_key import CommandKey
from choros_verify.simulation.callbacks import FAILED, Callback
from choros_verify.simulation.evidence import Evidence


def later_violations(run: Evidence) -> Iterator[str]:
    """75. A command is finished once, and whoever repeats it is told so; what counted stays; and no saga ends before
    each of its commands is finished or void. Not where something steps back behind what it acknowledged."""
    if run.were("lose"):
        return
    counted: set[str] = set()
    for one in run.callbacks:
        key, what = one.call.key, f"{CommandKey.parse(one.call.key).path} of {run.name(one.call.correlation_id)}"
        yield from (f"75: {what} {said}." for said in _answers(one, run.rows[one.service].get(key)))
        if one.counted and key in counted:
            yield f"75: {what} was finished twice."
        counted |= {key} if one.counted and one.code != FAILED else set()
    for service, rows in run.rows.items():
        for row in (row for row in rows.values() if row.state == "unfinished"):
            record = run.records.get(CommandKey.parse(row.key).saga_id)
            if record and _is_over(record):
                yield f"75: {run.name(record.saga_id)} is {record.status}; {service} may still finish {row.key}."


def _is_over(record: Record) -> bool:
    """A terminated saga says itself what is in doubt."""
    return record.status in ("completed", "compensated")


def _answers(one: Callback, row: Row | None) -> Iterator[str]:
    """A row may be forgotten, and one that failed is begun again."""
    if one.answers[:1] == ["finished"] and one.answers[1:] not in ([], ["repeated"]) and one.code != FAILED:
        yield f"was finished, and said again {one.answers[1]}"
    wanted = ("refused", "tombstone") if one.code else ("ok",)
    if one.counted and one.code != FAILED and row is not None and row.state not in wanted:
        yield f"was finished, and its row is {row.state}"
