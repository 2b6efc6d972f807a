"""How dead letters look: as rows, one by one, and what people did with them."""

import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from choros.cli.bodies import Body
from choros.cli.output import Column, age, field, styled
from choros.desk.dead_letters import DeadLetter
from choros.wire.attributes import rfc3339
from choros.wire.envelope import Wire

LONGEST_SHOWN = 4000
"""Characters of a body that are shown to a person; JSON has them all."""
_SHOWN = {
    "kind": "kind", "type": "type", "queue": "parked from", "exchange": "came through", "parked_at": "parked at",
    "reason": "reason", "unreadable": "cannot be read", "saga": "saga", "saga_id": "saga id", "step": "step",
    "key": "command key", "attempt": "attempt", "source": "source", "stream": "stream", "seq": "number",
    "subject": "subject", "message_id": "message id", "size": "bytes", "redriven": "put back before",
}  # fmt: skip


def columns(moment: float) -> list[Column]:
    """Of a list, which says how old each is at this moment."""
    return [
        Column("ID", field("id")),
        Column("KIND", field("kind")),
        Column("QUEUE", field("queue"), least=8, shown=lambda row: row["queue"].rpartition(".")[2]),
        Column("TYPE", field("type"), least=8),
        Column("SAGA", field("saga_id"), least=8, id=True),
        Column("STEP", field("step"), least=6),
        Column("AGE", field("parked_at"), shown=age("parked_at", moment)),
        Column("REASON", field("reason"), least=12),
    ]


ACTS = [
    Column("AT", field("at"), shown=lambda row: str(row.get("at"))[:19].replace("T", " ")),
    Column("ACT", field("act")),
    Column("BY", field("by"), least=8),
    Column("LETTER", lambda row: str(row["letter"].get("id", ""))),
    Column("TYPE", lambda row: str(row["letter"].get("type", "")), least=8),
    Column("SAGA", lambda row: str(row["letter"].get("saga_id", "")), least=8, id=True),
    Column("STEP", lambda row: str(row["letter"].get("step", "")), least=6),
    Column("REASON", field("reason"), least=8),
]


def row_of(letter: DeadLetter) -> dict[str, Any]:
    """As JSON."""
    row = letter.row()
    return row | {"parked_at": None if letter.parked_at is None else rfc3339(letter.parked_at)}


def whole_of(letter: DeadLetter, wire: Wire) -> dict[str, Any]:
    """As JSON, with its headers and its body: as text where it is one."""
    headers = {str(name): _plain(value) for name, value in wire.headers.items()}
    try:
        body: dict[str, Any] = {"body": wire.body.decode()}
    except UnicodeDecodeError:
        body = {"body_base64": base64.b64encode(wire.body).decode()}
    return row_of(letter) | {"headers": headers} | body


def lines_of(letter: DeadLetter, wire: Wire) -> list[str]:
    """For a person."""
    row = row_of(letter)
    said = [f"{title + ':':<17} {row[name]}" for name, title in _SHOWN.items() if row[name] not in ("", None, 0)]
    text = _pretty(wire.body)
    cut = [f"... {len(text) - LONGEST_SHOWN} more characters: -o json"] if len(text) > LONGEST_SHOWN else []
    return [styled(letter.id, "bold"), *said, "", *text[:LONGEST_SHOWN].splitlines(), *cut]


def _pretty(body: bytes) -> str:
    """Indented if it is JSON, whose numbers stay as they were; nothing of it speaks to a terminal."""
    text = body.decode(errors="backslashreplace")
    if len(text) <= 10 * LONGEST_SHOWN:
        with suppress(ValueError, RecursionError):
            text = Body(text).text(indent=1)
    return "".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text)


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, (bytes, bytearray)):
        return value.decode(errors="backslashreplace")
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
