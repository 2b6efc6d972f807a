"""How `choros saga waiting` shows what sagas wait to be told."""

from typing import Any

from choros.cli.output import Column, age, field
from choros.desk.open_waits import OpenWait
from choros.wire.attributes import rfc3339


def wait_columns(now: float) -> list[Column]:
    """Of a list, which says how long each has waited at this moment, and waits still."""
    return [
        Column("ID", field("saga_id"), least=8, id=True),
        Column("KEY", field("key"), least=6),
        Column("SAGA", field("saga"), least=5),
        Column("WAIT", field("wait"), least=8),
        Column("FOR", field("for")),
        Column("SIGNAL", field("signal"), least=8),
        Column("SINCE", field("since"), shown=age("since", now)),
        Column("UNTIL", lambda row: "a person" if row["parked"] else row["until"][:16]),
    ]


def wait_row(one: OpenWait) -> dict[str, Any]:
    """As JSON."""
    return {
        "saga_id": one.record.saga_id,
        "key": one.record.key,
        "saga": one.record.saga,
        "wait": one.path,
        "for": one.by,
        "signal": one.signal,
        "since": rfc3339(one.since),
        "until": rfc3339(one.until),
        "parked": one.parked,
    }
