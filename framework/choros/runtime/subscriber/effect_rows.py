"""What a subscriber does about facts, as rows: a fact, or several that it waits for, and what takes that back again.

A fact that fails waits in the ladder of delays, so what takes it back may overtake it. Then there is nothing to undo
yet; what remains is a tombstone, and the fact is not handled any more when it comes. The rows have the name of the
subscriber and a `CommandKey`: the flow, the effect, round, do or undo. An effect without a name is called after the
type of its fact and, in brackets, the step that published it: a saga may publish two facts of one type, each with a
retraction of its own.

What is waited for together has one row, of the effect as well: it holds the facts that have come. Whoever comes meets
the others there, and so does what takes it back, half full too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from choros.app.handler import Handler
from choros.app.joining import is_undone, undone_by
from choros.messages import Message
from choros.runtime.host.outbox_rows import stream_of
from choros.runtime.subscriber.inbox import reaction_key
from choros.store.barrier import Row, RowState, Transaction
from choros.wire.command_key import CommandKey
from choros.wire.envelope import Envelope

Admitted = Literal["yes", "withdrawn", "too old", "joined", "second cause", "repeated"]
ROUND = 1
"""A saga publishes a fact once, and takes it back once."""


@dataclass(slots=True)
class EffectRows:
    """The rows of what one fact is about, in the transaction in which it is handled."""

    subscriber: str
    reactions: Mapping[str, Handler]
    handler: Handler
    fact: Envelope
    transaction: Transaction
    now: float
    before: list[Message] = field(default_factory=list)
    """Of several that it waits for: those that came before this one."""
    stands: bool = True
    """Of what takes something back: whether that was done."""

    async def admit(self) -> Admitted:
        """Whether the handler of this fact is to be called; notes what that means for its undo. Where it is too old, or
        a second cause, nothing is written."""
        handler, fact = self.handler, self.fact
        if handler.undoes is not None:
            done = undone_by(handler, self.reactions)
            return await self._undo(_keys(done, fact)[-1] if done else _key(handler.message.type_name, fact))
        if handler.effect:
            return await self._named(_keys(handler, fact)[0])
        return await self._do(_keys(handler, fact)) if has_rows(handler, self.reactions) else "yes"

    async def leave(self, state: RowState) -> None:
        """It was not done, so there is nothing to undo: `refused`, or given up for good, a `tombstone`."""
        handler = self.handler
        if handler.undoes is None and has_rows(handler, self.reactions):
            for key in _keys(handler, self.fact):
                row = await self._read(key)
                await self._write(key, state, row.content if row else "")

    async def _do(self, effects: Sequence[CommandKey]) -> Admitted:
        for effect in effects:
            done, undone = await self._read(effect), await self._read(effect.of("undo"))
            if undone is not None or (done is not None and done.state == "tombstone"):
                return "withdrawn"
        if await self._behind():
            return "too old"
        for effect in effects:
            await self._write(effect, "ok")
        return "yes"

    async def _named(self, effect: CommandKey) -> Admitted:
        """One that has a name has one cause: one fact, or one of each that it waits for."""
        done, undone = await self._read(effect), await self._read(effect.of("undo"))
        if undone is not None or (done is not None and done.state == "tombstone"):
            return "withdrawn"
        fact, wanted = self.fact, len(self.handler.join) or 1
        came: dict[str, Any] = json.loads(done.content) if done else {}
        if done is not None and (done.state != "waiting" or fact.type in came):
            return "repeated" if _is_known(came.get(fact.type), fact) else "second cause"
        if done is None and await self._behind():
            return "too old"
        came[fact.type] = fact.dumps()
        if len(came) < wanted:
            await self._write(effect, "waiting", json.dumps(came))
            return "joined"
        facts = [Envelope.loads(text) for text in came.values()]
        self.before = [self._read_again(one) for one in facts if one.type != fact.type]
        await self._write(effect, "ok", json.dumps({one.type: _identity(one) for one in facts}))
        return "yes"

    def _read_again(self, fact: Envelope) -> Message:
        return self.reactions[fact.type].message.from_json(fact.data)

    async def _undo(self, effect: CommandKey) -> Admitted:
        """Called once where there is something to undo; one that publishes, where there is nothing as well."""
        done, undone = await self._read(effect), await self._read(effect.of("undo"))
        if undone is None and (done is None or done.state == "ok") and await self._behind():
            return "too old"
        if done is None or done.state == "waiting":
            await self._write(effect, "tombstone", done.content if done else "")
        self.stands = done is not None and done.state == "ok"
        if undone is not None or not (self.stands or self.handler.publishes):
            return "withdrawn"
        await self._write(effect.of("undo"), "ok")
        return "yes"

    async def _read(self, effect: CommandKey) -> Row | None:
        return await self.transaction.read_row(reaction_key(self.subscriber, effect))

    async def _write(self, effect: CommandKey, state: RowState, content: str = "") -> None:
        began = self.fact.began
        key = reaction_key(self.subscriber, effect)
        await self.transaction.write_row(Row(key=key, state=state, content=content, began=began, since=self.now))

    async def _behind(self) -> bool:
        """Whether rows about this flow may have been forgotten; to be asked after they were read."""
        began = self.fact.began
        return began is not None and began <= await self.transaction.horizon("commands")


def has_rows(handler: Handler, reactions: Mapping[str, Handler]) -> bool:
    """Whether something is written of it beside that its fact is handled."""
    return handler.undoes is not None or bool(handler.effect) or is_undone(handler, reactions)


async def effect_state(
    subscriber: str, reactions: Mapping[str, Handler], fact: Envelope, transaction: Transaction
) -> RowState | None:
    """How far what is done about this fact, or taken back by it, has come; None where no row says."""
    handler = reactions.get(fact.type)
    if handler is None:
        return None
    done = handler if handler.undoes is None else undone_by(handler, reactions)
    if done is None or not has_rows(done, reactions):
        return None
    rows = await transaction.read_rows([reaction_key(subscriber, key) for key in _keys(done, fact)])
    states = [row.state for row in rows if row]
    return "tombstone" if "tombstone" in states else states[0] if states else None


def _keys(handler: Handler, fact: Envelope) -> Sequence[CommandKey]:
    """What a fact does may be taken back by its own step's retraction, or by a closing fact, which has no step: that
    one takes back the last of them."""
    if handler.effect:
        return [_key(handler.effect, fact)]
    kind = handler.message.type_name
    return [_key(path, fact) for path in (kind, *([f"{kind}[{fact.step}]"] if fact.step else ()))]


def _key(path: str, fact: Envelope) -> CommandKey:
    return CommandKey(stream_of(fact), path, ROUND, "do")


def _is_known(found: Any, fact: Envelope) -> bool:
    """Whether what a row says of a fact, the whole of it or who it is, is about this one."""
    return _identity(fact) == (_identity(Envelope.loads(found)) if isinstance(found, str) else found)


def _identity(fact: Envelope) -> Sequence[str | int]:
    return [fact.source, fact.stream, fact.seq, fact.id]
