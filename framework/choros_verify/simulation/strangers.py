"""Messages of a stranger: like one that was just sent, but for one thing that nobody can have asked for.

Whoever may write to an exchange may send such; so may another release, or a mistake. They are to be parked, and to have
no effect.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from choros.wire.envelope import Wire

FORGED = "forged-"
"""What the ids of their messages begin with."""
Forgery = tuple[str, str, Wire]
"""A message as it is published: to which exchange, by which key."""
_OTHER = {"do": "undo", "undo": "do"}


def forged(exchange: str, key: str, wire: Wire, how: int) -> Forgery | None:
    """What a stranger sends who has seen this message; `how` chooses among what there is to forge about its kind. None
    for what is no message of choros, or is a forged one already."""
    ways = _WAYS.get(str(wire.headers.get("cloudEvents_sagakind")), ())
    if not ways or str(wire.headers.get("cloudEvents_id", "")).startswith(FORGED):
        return None
    return ways[how % len(ways)](exchange, key, _with(wire, id=f"{FORGED}{how}-{wire.headers['cloudEvents_id']}"))


def _with(wire: Wire, **attributes: Any) -> Wire:
    changed: Mapping[str, Any] = {f"cloudEvents_{name}": value for name, value in attributes.items()}
    return replace(wire, headers={**wire.headers, **changed})


def _no_json(exchange: str, key: str, wire: Wire) -> Forgery:
    return exchange, key, replace(wire, body=b"\xff{")


def _no_such_body(exchange: str, key: str, wire: Wire) -> Forgery:
    return exchange, key, replace(wire, body=b'["nobody", "declares", "this"]')


def _other_operation(exchange: str, key: str, wire: Wire) -> Forgery:
    """The command of a `do` under the key of its undo, or the other way round."""
    effect, _, operation = str(wire.headers["cloudEvents_idempotencykey"]).rpartition(":")
    if operation not in _OTHER:
        return _no_such_body(exchange, key, wire)
    return exchange, key, _with(wire, idempotencykey=f"{effect}:{_OTHER[operation]}")


def _other_step(exchange: str, key: str, wire: Wire) -> Forgery:
    return exchange, key, _with(wire, sagastep="nobody's")


def _other_speaker(exchange: str, key: str, wire: Wire) -> Forgery:
    """By the way of the service whose name it should bear, but in another's name."""
    return exchange, key, _with(wire, source=f"{wire.headers['cloudEvents_source']}-s-neighbour")


def _other_saga(exchange: str, key: str, wire: Wire) -> Forgery:
    """Of a saga that is not there."""
    nobody = "0" * 8
    _, _, effect = str(wire.headers["cloudEvents_idempotencykey"]).partition(":")
    named = _with(wire, correlationid=nobody, idempotencykey=f"{nobody}:{effect}")
    return exchange, key, replace(named, correlation_id=nobody)


_WAYS: Mapping[str, Sequence[Callable[[str, str, Wire], Forgery]]] = {
    "command": (_other_operation, _no_json, _other_operation, _no_such_body, _other_step),
    "reply": (_other_speaker, _other_saga, _no_such_body, _no_json),
    "fact": (_no_json, _no_such_body, _other_speaker),
}
