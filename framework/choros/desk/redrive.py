"""Acting on dead letters: each act is written down, then done; killed anywhere, it leaves nothing undone unheard.

A message goes back first, confirmed, and leaves the dead letters after that. Killed in between, both are there: whoever
handles the one that went back knows the other again, by its command key, its id or its place in its stream."""

import asyncio
import base64
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from choros.desk.dead_letters import DeadLetter, StaysParked, way_back
from choros.desk.edits import edited_letter
from choros.desk.parkings import Parkings, Shown, WantedLetters, shown
from choros.runtime.orchestrator.signature import Signature
from choros.sources import fresh_id, now
from choros.telemetry.logs import get_logger
from choros.transport.copies import redriven_copy
from choros.transport.inspection import LookingTransport
from choros.transport.port import Delivery, Published
from choros.transport.topology import Names
from choros.wire.attributes import rfc3339
from choros.wire.envelope import Wire

log = get_logger("choros.dead")

MOST_BODY = 64 * 1024
"""Bytes of a body that are kept with the record of an act."""
AT_ONCE, MOST_AT_ONCE = 32, 16 * 1024 * 1024
"""Dead letters that are acted on together, and bytes of them."""
LetterVerb = Literal["redrive", "edit", "drop", "fail"]


@dataclass(frozen=True, slots=True)
class ActedOn:
    """What came of an act on one dead letter."""

    letter: DeadLetter
    left: str = ""
    """Why it is where it was; empty where the act is done."""


class Acts:
    """What a person does with dead letters."""

    def __init__(self, transport: LookingTransport, names: Names, by: Signature) -> None:
        self._transport, self._names, self._signature = transport, names, by

    async def redrive(self, letter: DeadLetter, delivery: Delivery) -> ActedOn:
        """Put it back to where it was parked from."""
        return await self._put_back("redrive", letter, delivery, delivery.wire)

    async def fail(self, letter: DeadLetter, delivery: Delivery) -> ActedOn:
        """Put a fact back with the order to give up: its service says so in its own transaction (rule 29)."""
        if letter.kind != "fact":
            return ActedOn(letter, "It is no fact: only a reaction gives up.")
        return await self._put_back("fail", letter, delivery, delivery.wire)

    async def edit(self, letter: DeadLetter, delivery: Delivery, edited: Wire) -> ActedOn:
        """Put this back in its place, of which nothing but the body is another."""
        return await self._put_back("edit", edited_letter(letter, edited), delivery, edited)

    async def drop(self, letter: DeadLetter, delivery: Delivery) -> ActedOn:
        """Let go of it; the record keeps the beginning of its body."""
        if not await self._note("drop", letter, body=delivery.wire.body):
            return ActedOn(letter, _UNRECORDED)
        if delivery.lost:
            return ActedOn(letter, "The connection was lost before it could be taken out.")
        await delivery.ack()
        return self._told("drop", letter)

    async def _put_back(self, verb: LetterVerb, letter: DeadLetter, delivery: Delivery, wire: Wire) -> ActedOn:
        try:
            exchange, key = way_back(letter, self._names)
        except StaysParked as stays:
            return ActedOn(letter, stays.sentence)
        bodies = {} if wire.body == delivery.wire.body else {"body": delivery.wire.body, "edited": wire.body}
        if not await self._note(verb, letter, **bodies):
            return ActedOn(letter, _UNRECORDED)
        published = await self._transport.post(exchange, key, redriven_copy(wire, gives_up=verb == "fail"))
        if published is not Published.CONFIRMED:
            return ActedOn(letter, _LEFT[published])
        if delivery.lost:
            return ActedOn(letter, "It went back, but the connection was lost before it could be taken out here.")
        await delivery.ack()
        return self._told(verb, letter)

    async def _note(self, verb: LetterVerb, letter: DeadLetter, **bodies: bytes) -> bool:
        act: dict[str, Any] = {"id": fresh_id(), "at": rfc3339(now()), "by": "", "reason": ""}
        act |= {**self._signature.of(verb), "letter": letter.row()}
        for name, body in bodies.items():
            act |= _kept(name, body)
        wire = Wire(json.dumps(act, ensure_ascii=False).encode("utf-8", "replace"), {}, "application/json")
        return await self._transport.post(self._names.acts, "", wire) is Published.CONFIRMED

    def _told(self, verb: LetterVerb, letter: DeadLetter) -> ActedOn:
        log.info(
            f"choros.dead.{verb}", letter=letter.id, queue=letter.queue, type=letter.type, saga_id=letter.saga_id,
            step=letter.step, by=self._signature.by, reason=self._signature.reason,
        )  # fmt: skip
        return ActedOn(letter)


_UNRECORDED = "The record of the act was not taken by the broker, so nothing was done."
_LEFT = {
    Published.RETURNED: "The queue that it was parked from is not there.",
    Published.NACKED: "The broker does not take it: the queue is full, or it cannot be written again.",
    Published.UNKNOWN: "The broker has not said that it took it: it may have gone back, and is parked still.",
}


LetterAct = Callable[[DeadLetter, Delivery], Awaitable[ActedOn]]


async def act_on_all(
    parkings: Parkings, wanted: WantedLetters, act: LetterAct, *, most: int = sys.maxsize
) -> AsyncIterator[ActedOn]:
    """Do it to those that are wanted, some at a time, in their order; to so many at most."""
    for queue in parkings.queues:
        look = await parkings.transport.look(queue)
        try:
            while most and (batch := await _batch(shown(look, queue, parkings.names), wanted, most)):
                most -= len(batch)
                turns: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
                for done in await asyncio.gather(*(_in_turn(one, act, turns) for one in batch)):
                    yield done
        finally:  # which gives back the rest, so not before all of this queue is done
            await look.close()


async def _in_turn(one: Shown, act: LetterAct, turns: Mapping[tuple[str, str], asyncio.Lock]) -> ActedOn:
    """Facts of one stream one after the other: who handles them in order takes no earlier one behind a later."""
    letter, delivery = one
    if not letter.stream:
        return await act(letter, delivery)
    async with turns[letter.source, letter.stream]:
        return await act(letter, delivery)


async def _batch(letters: AsyncIterator[Shown], wanted: WantedLetters, most: int) -> list[Shown]:
    batch: list[Shown] = []
    async for letter, delivery in letters:
        if wanted.has(letter):
            batch.append((letter, delivery))
        if len(batch) == min(AT_ONCE, most) or sum(letter.size for letter, _ in batch) > MOST_AT_ONCE:
            break
    return batch


def _kept(name: str, body: bytes) -> dict[str, Any]:
    """The beginning of a body, as text where it is one, with what tells whether another is the same."""
    beginning = body[:MOST_BODY]
    kept = {f"{name}_size": len(body), f"{name}_sha256": hashlib.sha256(body).hexdigest()}
    try:
        return kept | {name: beginning.decode()}
    except UnicodeDecodeError:
        return kept | {f"{name}_base64": base64.b64encode(beginning).decode()}
