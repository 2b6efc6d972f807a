"""The grave faults that reviews and users found in code that had passed every test, planted back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from choros.errors import MessageRejected
from choros.messages import Message
from choros.runtime.client import client
from choros.runtime.host import call as calling
from choros.runtime.host import slots
from choros.runtime.host.pacing import BackingOff
from choros.runtime.host.under_way import UnderWay
from choros.runtime.orchestrator import replies, return_address, transition
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.orchestrator.work import Folded, Work
from choros.runtime.participant import participant, verdicts
from choros.runtime.participant.passing_on import PassingOn
from choros.runtime.participant.verdicts import Matter
from choros.runtime.subscriber import facts
from choros.runtime.subscriber.heard_types import HeardTypes
from choros.transport.port import Delivery
from choros.wire.command_key import CommandKey
from tests.simulation.planted import Plant


def replies_judged_before_their_record(patch: pytest.MonkeyPatch) -> None:
    """Whoever does not declare the step of a reply parks it, though another orchestrator may have asked for it."""
    read = Orchestrator._read

    def rash(self: Orchestrator, delivery: Delivery) -> Work | None:
        work = read(self, delivery)
        if work is None:
            return None
        envelope = work.given.envelope  # type: ignore[union-attr]
        saga = self._app.sagas.get((envelope.saga, envelope.saga_version))
        if saga and saga.outline.commanded(CommandKey.parse(envelope.key).path):
            return work
        self.decider.background(delivery.dead_letter("The idempotency key names no commanded step of this saga."))
        return None

    patch.setattr(Orchestrator, "_read", rash)


def any_operation_under_any_key(patch: pytest.MonkeyPatch) -> None:
    """The command of an undo is carried out under the key of the `do`, and the other way round."""
    patch.setattr(participant, "check_operation", lambda *_: None)


def a_panic_that_ends_the_process(patch: pytest.MonkeyPatch) -> None:
    """What a handler raises that is no Exception leaves its task."""
    ended = calling._ended

    async def plain(work: Callable[[], Awaitable[Any]], done: asyncio.Future[bool]) -> Any:
        result, error = await ended(work, done)
        if isinstance(error, calling.HandlerBroke):
            raise error.raised
        return result, error

    patch.setattr(calling, "_ended", plain)


def a_cancelled_call_is_an_order_to_stop(patch: pytest.MonkeyPatch) -> None:
    """That a handler's own call was cancelled counts as the role's being cancelled."""

    def ordered(task: asyncio.Task[tuple[Any, Exception | None]], in_time: bool) -> Any:
        result, error = task.result()
        if error is not None:
            raise error
        return result

    patch.setattr(calling, "_result", ordered)


def a_validator_that_ends_the_process(patch: pytest.MonkeyPatch) -> None:
    """What a message's own validator raises that is no ValueError leaves the reading of it."""

    def read(cls: type[Message], data: str | bytes) -> Message:
        try:
            return cls.model_validate_json(data, strict=True)
        except ValueError as error:
            raise MessageRejected(f"The body is no {cls.type_name}.") from error

    patch.setattr(Message, "from_json", classmethod(read))


def contexts_that_leak(patch: pytest.MonkeyPatch) -> None:
    """A handler runs in the context of whoever calls it, and so do those after it."""

    async def within(work: Callable[[], Awaitable[Any]], seconds: float | None = None, left_behind: Any = None) -> Any:
        async with asyncio.timeout(seconds):
            return await work()

    patch.setattr(slots, "apart", within)


def handlers_without_end(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks at how long a call takes."""
    apart = calling.apart
    patch.setattr(slots, "apart", lambda work, seconds, left_behind: apart(work, None, left_behind))


def copies_that_take_places(patch: pytest.MonkeyPatch) -> None:
    """Each copy of a command under way waits for a turn of its own, and keeps its place among what is unsettled."""
    patch.setattr(UnderWay, "join", lambda self, held: None)


def clocks_that_must_agree(patch: pytest.MonkeyPatch) -> None:
    """A participant whose clock is ahead refuses what comes in time."""
    patch.setattr(Matter, "late", property(lambda self: self.not_after is not None and self.came > self.not_after))


def undone_behind_the_horizon(patch: pytest.MonkeyPatch) -> None:
    """Where the row of a `do` is forgotten, an undo says that there is nothing to undo."""
    on_undo = verdicts.on_undo

    def sure(matter: Matter) -> Any:
        verdict = on_undo(matter)
        return verdicts.nothing_to_undo(matter) if isinstance(verdict, verdicts.TooOld) and not matter.done else verdict

    patch.setattr(verdicts, "on_undo", sure)


def a_client_that_decides_no_more(patch: pytest.MonkeyPatch) -> None:
    """What ends a client's decider, a password that is being changed, say, ends it for good."""

    async def once(job: Callable[[], Awaitable[None]]) -> None:
        await job()

    patch.setattr(client, "kept_up", once)


def starts_that_begin_later(patch: pytest.MonkeyPatch) -> None:
    """What a caller has given up is decided all the same, when the store is back."""
    patch.setattr(Work, "wanted", True)


def one_reply_queue_for_every_store(patch: pytest.MonkeyPatch) -> None:
    """Two applications of one name that work on two stores take each other's replies."""
    patch.setattr(return_address, "reply_queue", lambda namespace, application, _: f"{namespace}.replies.{application}")


def commands_parked_at_once(patch: pytest.MonkeyPatch) -> None:
    """A replica parks what only another one of its service handles."""
    patch.setattr(PassingOn, "take", lambda *_: False)


def replies_to_nobody(patch: pytest.MonkeyPatch) -> None:
    """A reply to a saga that is not there is acknowledged, and gone."""
    begin = transition.Transitions._begin

    def forgiving(self: Any, works: Sequence[Work], now: float) -> Folded:
        folded = begin(self, works, now)
        lost = [work for work, _ in folded.rejected if work.delivery]
        return Folded(folded.done, lost, [], folded.instance, folded.events, folded.transition)

    patch.setattr(transition.Transitions, "_begin", forgiving)


def facts_passed_over(patch: pytest.MonkeyPatch) -> None:
    """An old replica of a subscriber acknowledges facts of a type that only the new one handles."""

    async def nobody(self: HeardTypes, kinds: Any) -> frozenset[str]:
        return frozenset()

    patch.setattr(HeardTypes, "elsewhere", nobody)


def anybody_may_answer(patch: pytest.MonkeyPatch) -> None:
    """A service answers for another one."""
    patch.setattr(replies, "_believed", lambda envelope, exchange, names: envelope)
    patch.setattr(replies, "_check_speaker", lambda envelope, leaf: None)


def facts_in_anybodys_name(patch: pytest.MonkeyPatch) -> None:
    """A fact counts as its source's, whichever way it came."""
    patch.setattr(facts, "is_fanned_out", lambda exchange, source, names: True)


def never_less_often(patch: pytest.MonkeyPatch) -> None:
    """What does not leave is tried again at every turn."""
    patch.setattr(BackingOff, "failed", lambda *_: None)


GRAVE: Sequence[Plant] = (
    replies_judged_before_their_record,
    any_operation_under_any_key,
    a_panic_that_ends_the_process,
    a_validator_that_ends_the_process,
    a_cancelled_call_is_an_order_to_stop,
    contexts_that_leak,
    handlers_without_end,
    copies_that_take_places,
    clocks_that_must_agree,
    undone_behind_the_horizon,
    a_client_that_decides_no_more,
    starts_that_begin_later,
    one_reply_queue_for_every_store,
    commands_parked_at_once,
    replies_to_nobody,
    facts_passed_over,
    anybody_may_answer,
    facts_in_anybodys_name,
    never_less_often,
)
