"""The client: starts sagas, waits for their outcome, and tells what became of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

from choros.app.app import App
from choros.app.choreography import Choreography
from choros.app.sending import headers_text
from choros.errors import (
    BrokerUnreachable,
    ChorosError,
    DeclaredOtherwise,
    OutcomePending,
    StoreUnreachable,
    UsageError,
    with_article,
)
from choros.messages import Fact, Message, Reply, Signal, Update
from choros.names import BusinessKey
from choros.runtime.client.account import Account, account_of, check_id, doer_of, known_of, there
from choros.runtime.client.beginning import Beginning
from choros.runtime.client.bounds import in_time, seconds_of
from choros.runtime.client.outcome import SETTLED, Outcome, outcome_of, recorded
from choros.runtime.client.parked import Skippable, meant, skippable
from choros.runtime.client.query import SagaState, answered, check_replies, saga_state
from choros.runtime.client.reference import referred
from choros.runtime.client.rerun import rerun
from choros.runtime.client.schedules import ScheduleActs
from choros.runtime.client.settling import settling
from choros.runtime.client.signals import signal_to, wait_of
from choros.runtime.client.updates import check_own_id, kept_answer, update_named
from choros.runtime.client.upkeep import kept_up
from choros.runtime.orchestrator.decider import Decider
from choros.runtime.orchestrator.history import answered_before
from choros.runtime.orchestrator.lock_store import opened_locks
from choros.runtime.orchestrator.recognition import recognise
from choros.runtime.orchestrator.return_address import ReturnAddress
from choros.runtime.orchestrator.schedules import opened
from choros.runtime.orchestrator.signature import UNSIGNED, Signature
from choros.runtime.orchestrator.start import Startable, sendable
from choros.runtime.orchestrator.stuck import Declarations
from choros.runtime.orchestrator.transition import Transitions
from choros.runtime.orchestrator.work import Folded, Move, Start, Work, WorkDone
from choros.saga.machine.inputs import (
    Act,
    CancelRequested,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    SignalRequested,
    SkipRequested,
    TerminateRequested,
    UpdateRequested,
)
from choros.saga.machine.instance import Instance
from choros.saga.parameters import DeclaredUpdate, bare_name
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait
from choros.sources import fresh_id
from choros.store.sagas import Store
from choros.transport.port import Transport
from choros.wire.own_headers import Headers

T = TypeVar("T")
S = TypeVar("S", bound=Message)
R = TypeVar("R", bound=Message)
A = TypeVar("A", bound=Reply)
F = TypeVar("F", bound=Fact)
POLL_FIRST, POLL_MOST = 0.02, 0.5


class Client:
    """Startable and follows sagas on an open store. Use it as `async with`, or give it the decider of an orchestrator
    that runs in the same process. Every call is bounded by `timeout` and raises StoreUnreachable past it."""

    def __init__(
        self, app: App, *, store: Store, transport: Transport, decider: Decider | None = None,
        timeout: timedelta = timedelta(seconds=30), schedules: Store | None = None, locks: Store | None = None,
    ) -> None:  # fmt: skip
        self._app, self._timeout = app, seconds_of(timeout)
        self._schedules = schedules and in_time(schedules, self._timeout)
        self._starts = Startable(app.scope, app.sagas)
        self._store = in_time(store, self._timeout)
        self._transport = transport
        self._beginning = Beginning(app, transport)
        self._own = decider is None
        self._address = ReturnAddress(app, store)
        make = Transitions(app, lambda: self._address.queue).make
        self._decider = decider or Decider(make, store, transport, locks=opened_locks(app, locks))
        self._deciding: asyncio.Task[None] | None = None
        self._marking: list[asyncio.Task[None]] = []
        self._signature = UNSIGNED

    async def __aenter__(self) -> Self:
        if self._own:
            self._deciding = asyncio.create_task(kept_up(self._decider.run))
            relays = self._decider.outboxes.relays
            self._marking = [asyncio.create_task(kept_up(partial(relay.run, scan=False))) for relay in relays]
            with suppress(BrokerUnreachable):  # an orchestrator on this store declares it as well
                await self._address.declare(self._transport)
            await asyncio.sleep(0)  # a client that was closed before is at work again only once these have begun
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._deciding:
            self._decider.stop()
            await asyncio.wait([self._deciding], timeout=self._timeout)
            self._deciding.cancel()
            for marking in self._marking:
                marking.cancel()
            await asyncio.wait(self._marking)
            await self._decider.close(self._timeout)

    async def start(
        self, saga: Saga[S, Any], message: S, *, key: BusinessKey | None = None,
        traceparent: str = "", tracestate: str = "",
    ) -> str:  # fmt: skip
        """Start a saga and return its id as soon as it is in the store; from then on it will end.

        The same key with the same message is the same saga; with another message it raises StartConflict. Where
        another one has its lock, and the declaration says join, that one's id is returned."""
        work = self._starts.work(saga, message, key, traceparent, tracestate)
        await self._ask(work)
        return await doer_of(self._store, saga, work.saga_id, self._timeout)

    async def begin(self, flow: Choreography[F], fact: F, *, run: int = 1, correlation_id: str = "") -> str:
        """Begin a flow; its id, once the broker has its first fact. The same key and run is the same flow."""
        return await self._beginning.begin(flow, fact, run, correlation_id)

    async def run(
        self, saga: Saga[S, R], message: S, *, key: BusinessKey | None = None, timeout: timedelta | None = None,
        traceparent: str = "", tracestate: str = "",
    ) -> Outcome[R]:  # fmt: skip
        """Start a saga and wait for its outcome (the synchronous style); raises OutcomePending past the timeout."""
        work = self._starts.work(saga, message, key, traceparent, tracestate)
        watching = self._decider.watch(work.saga_id)  # before it can end
        try:
            done = await self._ask(work)
            if (doer := await doer_of(self._store, saga, work.saga_id, self._timeout)) != work.saga_id:
                return await self.wait(doer, timeout=timeout)
            return await self._within(work.saga_id, watching, timeout, look=done.repeated)
        finally:
            watching.cancel()

    async def wait(self, saga_id: str, *, timeout: timedelta | None = None) -> Outcome[Any]:
        """Wait until the saga has ended or is parked; raises OutcomePending past the timeout, SagaNotFound. A store
        that is away meanwhile is waited for."""
        watching = self._decider.watch(saga_id)
        try:
            return await self._within(saga_id, watching, timeout, look=True)
        finally:
            watching.cancel()

    async def _within(
        self, saga_id: str, watching: asyncio.Future[WorkDone], timeout: timedelta | None, *, look: bool
    ) -> Outcome[Any]:
        seconds = self._timeout if timeout is None else seconds_of(timeout)
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(saga_id, watching, look)
        except TimeoutError:
            raise OutcomePending(
                f"saga {saga_id} has not ended within {seconds:g} s; {await self._way(saga_id)}.",
                f"choros saga show {saga_id}.",
            ) from None

    async def _way(self, saga_id: str) -> str:
        """What becomes of a saga that has not ended, as far as this application knows."""
        with suppress(ChorosError, TimeoutError):
            async with asyncio.timeout(1.0):
                if why := await self.why_stuck(saga_id):
                    return f"here it is stuck: {why}"
        return "it goes on"

    async def _follow(self, saga_id: str, watching: asyncio.Future[WorkDone], look: bool) -> Outcome[Any]:
        """Another process may end the saga, so look into the store now and then: often, if this one cannot end any."""
        pause = POLL_FIRST if self._own else POLL_MOST
        while True:
            if look:
                with suppress(StoreUnreachable):  # it may be back before the time is up
                    record = (await known_of(self._store, saga_id)).record
                    if record.status in SETTLED:  # else there is no need to read its state, however long that is
                        return recorded(record, self._app.sagas)
            await asyncio.wait([watching], timeout=pause)
            if watching.done():
                ended = watching.result().instance
                if not ended.result:
                    return outcome_of(ended)
                watching = asyncio.get_running_loop().create_future()  # its record says by which declaration to read it
            look, pause = True, min(pause * 1.5, POLL_MOST)

    async def outcome(self, saga_id: str) -> Outcome[Any]:
        """How far the saga is, or was when it ended; raises SagaNotFound, and StoreUnreachable at once."""
        return recorded((await known_of(self._store, saga_id)).record, self._app.sagas)

    async def show(self, saga_id: str) -> Account:
        """Everything that is known of a saga instance; raises SagaNotFound, and StoreUnreachable at once."""
        return await account_of(self._store, saga_id, self._app.sagas)

    async def query(self, saga_id: str, *, until: str = "", timeout: timedelta | None = None) -> SagaState:
        """Where the saga stands, for a program: its messages as they are typed, and which steps may still come. Raises
        SagaNotFound, and DeclaredOtherwise where this application has not the declaration that the saga follows.

        With `until` only once that step has replied, or else never will: the saga is being undone, over or parked.
        Raises OutcomePending past the timeout, and UsageError for a step that there is not."""
        seconds = self._timeout if timeout is None else seconds_of(timeout)
        return await answered(partial(self._state, saga_id, until), until, seconds)

    async def _state(self, saga_id: str, until: str) -> SagaState:
        saga, instance = await self._naming(saga_id, self._declared(saga_id, whole=True))
        return saga_state(check_replies(saga, until), instance)

    async def id_of(self, reference: str) -> str:
        """The id of the instance that goes by this id, start key (its last run) or beginning of an id; raises
        SagaNotFound, and UsageError where that may be several."""
        names = {saga.name for saga in self._app.sagas.values()}
        return await referred(self._store, self._app.scope, reference, names)

    async def why_stuck(self, saga_id: str) -> str:
        """Why no worker of this application decides anything for the saga, with the difference between its declaration
        and ours named; empty where they do. Raises SagaNotFound, and StoreUnreachable at once."""
        record = (await known_of(self._store, saga_id)).record
        return await Declarations(self._app.sagas, self._store).why_stuck(record)

    def signed(self, by: str, reason: str = "") -> Self:
        """The same client for a person, whose acts say in the history who wanted them, and why."""
        client = copy(self)
        client._signature = Signature(by, reason)
        return client

    def with_headers(self, headers: Headers) -> Self:
        """The same client, whose sagas and flows are begun with headers of the user's own: all that is sent because of
        them has these, and handlers read them in `Call.headers`. Raises UsageError where they cannot be sent."""
        client, own = copy(self), headers_text(headers)
        client._starts, client._beginning = replace(self._starts, own_headers=own), self._beginning.saying(own)
        return client

    def metered(self, meter: Callable[[Folded], None]) -> Self:
        """The same client, which says what it commits."""
        self._decider.meter = meter
        return self

    @property
    def schedules(self) -> ScheduleActs:
        """What a person does with the schedules of the application, signed as this client is; raises UsageError where
        it has none."""
        return ScheduleActs(self._app, opened(self._app, self._schedules), self._signature)

    async def cancel(self, saga_id: str) -> str:
        """Ask for the saga to be undone. Answers 'compensating'; 'wanted' while the pivot is in flight, when it only
        acts if the pivot is refused; or 'too_late'."""
        return await self._act(saga_id, CancelRequested(fresh_id()))

    async def terminate(self, saga_id: str) -> str:
        """End the saga as it is: nothing more is done, and nothing undone, but what is open is closed first. Answers
        'terminating', 'terminated' where nothing was open, or 'too_late'."""
        return await self._act(saga_id, TerminateRequested(fresh_id()))

    async def pause(self, saga_id: str) -> str:
        """Send nothing more for this saga until it is resumed."""
        return await self._act(saga_id, PauseRequested(fresh_id()))

    async def resume(self, saga_id: str) -> str:
        """Go on after a pause."""
        return await self._act(saga_id, ResumeRequested(fresh_id()))

    async def parked_at(self, saga_id: str, step: str | None = None, round: int | None = None) -> tuple[str, int]:
        """The step that is meant, and its round: without a name the only one at which the saga is parked. Raises
        UsageError where there is no such step, none is parked, or another one."""
        return meant(*await self._naming(saga_id, self._declared(saga_id)), step, round)

    async def retry(self, saga_id: str, step: str | None = None, round: int | None = None) -> str:
        """Try the step again at which the saga is parked. Answers 'unparked' or 'too_late'."""
        return await self._act(saga_id, RetryRequested(fresh_id(), *await self.parked_at(saga_id, step, round)))

    async def skip(self, saga_id: str, step: str, reply: Message | None = None, round: int | None = None) -> str:
        """Close the parked step's command and go on as if it had been answered with `reply`, of the type that the
        command declares. A step whose undo is skipped is left standing; the reply may be left out then."""
        wanted = await self.skippable(saga_id, step)
        if type(reply) is not wanted.reply and not (reply is None and wanted.undo):
            raise UsageError(
                f"{wanted.what} is not answered with {type(reply).__name__}.", f"{with_article(wanted.reply)}."
            )
        body = sendable(reply) if reply else ""
        return await self._act(saga_id, SkipRequested(fresh_id(), *await self.parked_at(saga_id, step, round), body))

    async def settle(
        self, saga_id: str, step: str | None = None, reply: Message | None = None, *, stands: bool = False
    ) -> str:
        """Say that what the saga has left standing or in doubt is undone, or that a parked undo was done by hand, of
        this step or the only one; with `stands`, that what is in doubt is there, and its reply. Answers 'by_hand',
        'unparked' where the undo is closed first, or 'too_late'; raises UsageError."""
        saga, instance = await self._naming(saga_id, self._declared(saga_id))
        return await self._act(saga_id, settling(saga, instance, step, reply, stands=stands))

    async def skippable(self, saga_id: str, step: str) -> Skippable:
        """What skipping this step of this saga closes now; raises UsageError where nothing of it is commanded."""
        saga, instance = await self._naming(saga_id, self._declared(saga_id))
        return skippable(saga, instance, step)

    async def rerun(self, saga_id: str, step: str) -> str:
        """Run a saga that has ended again from a step, and return the id of the new instance, which takes over the
        steps before it. Raises UsageError where that would leave an effect twice or nobody's, and SagaNotFound."""
        whole = await there(self._store, saga_id, whole=True)
        return await self._naming(saga_id, rerun(self._app, whole, step, self._ask))

    async def move(self, saga_id: str, version: int, *, rename: Mapping[str, str] = MappingProxyType({})) -> str:
        """Let the saga go on under the declaration that this application has of it in that version. `rename` names the
        nodes that are called otherwise there: path in the version that it follows, path there. Answers 'moved'; raises
        UsageError where the two differ in anything else that it has come to, or in the closing facts."""
        record = (await there(self._store, saga_id)).record
        text = await Declarations(self._app.sagas, self._store).followed(record)
        return await self._act(saga_id, Move(fresh_id(), version, text, tuple(rename.items())))

    async def signal(self, saga_id: str, signal: Signal | Fact, *, wait: str = "", id: str = "") -> str:
        """Tell the saga what it waits for, or will wait for. `wait` names the wait where several have this type: its
        path, in an item with the index. Answers 'signalled', 'kept' where the saga has not come to the wait yet,
        'not_kept' where too many are, or 'too_late'. Asked again under the same `id`, it answers as it did before, and
        nothing happens. Where it waits for a fact, that may be told in its place. Raises UsageError where nothing
        waits for that, or the wait asks who speaks."""
        saga, _ = await self._naming(saga_id, self._declared(saga_id))
        return await self._act(saga_id, self._signal(saga, signal, wait, id))

    async def wait_named(self, saga_id: str, wait: str = "") -> SignalWait:
        """The wait of this path in the declaration of the saga, or its only one; raises UsageError."""
        saga, _ = await self._naming(saga_id, self._declared(saga_id))
        return wait_of(saga, wait)

    async def update(self, saga_id: str, update: Update[A], *, id: str = "") -> A:
        """Ask the saga for a change, as its declaration has it, and return what it replies; under the same `id` what it
        did before. Raises UpdateRefused where it says no; UsageError where it answers no such update; SagaNotFound."""
        check_own_id(id)
        declared = await self.update_declared(saga_id, bare_name(type(update)))
        asked = UpdateRequested(id or fresh_id(), declared.name, sendable(update))
        done = await self._naming(saga_id, self._ask(Work(saga_id, asked)))
        return await kept_answer(self._store, asked, done.instance, update)

    async def update_declared(self, saga_id: str, name: str = "") -> DeclaredUpdate:
        """The update of this name that the saga answers, or its only one; raises UsageError."""
        return update_named((await self._naming(saga_id, self._declared(saga_id)))[0], name)

    async def signal_or_start(
        self, saga: Saga[S, Any], message: S, signal: Signal | Fact,
        *, key: BusinessKey | None = None, wait: str = "", id: str = "", traceparent: str = "", tracestate: str = "",
    ) -> tuple[str, str]:  # fmt: skip
        """Start a saga that is told something at once, or tell that to the one that was started so before: both, or
        neither. Gives back its id, and 'started' or what `signal` answers."""
        if saga.lock and saga.lock.when_taken == "join":
            raise UsageError(f"saga {saga.name!r} may join another one, which was told nothing.", "start, then signal.")
        work = self._starts.work(saga, message, key, traceparent, tracestate)
        assert isinstance(work.given, Start)
        work.given = replace(work.given, signal=self._signal(saga, signal, wait, id))
        return work.saga_id, await self._answered(work)

    def _signal(self, saga: Saga[Any], signal: Signal | Fact, wait: str, id: str) -> SignalRequested:
        check_own_id(id)
        path = signal_to(saga, signal, wait, self._signature)
        return SignalRequested(id or fresh_id(), path, sendable(signal))

    async def _act(self, saga_id: str, act: Act | SignalRequested | Move) -> str:
        check_id(saga_id)
        return await self._naming(saga_id, self._answered(Work(saga_id, act)))

    async def _answered(self, work: Work) -> str:
        """What it came to, in a word; where it was asked for before, what it came to then."""
        done = await self._ask(work)
        return (done.repeated and answered_before(await self._store.history(work.saga_id), work.id)) or done.word

    async def _declared(self, saga_id: str, *, whole: bool = False) -> tuple[Saga[Any], Instance]:
        known = await there(self._store, saga_id, whole=whole)
        return recognise(self._app.sagas, known.record, None, known.entries)

    async def _naming(self, saga_id: str, asked: Awaitable[T]) -> T:
        """Its answer; where the saga is declared otherwise here, the error names the difference: that stands in the
        history, which nobody loads for a decision."""
        try:
            return await asked
        except DeclaredOtherwise as unlike:
            why = (await self.why_stuck(saga_id)).removesuffix(".")
            raise DeclaredOtherwise(f"Saga {saga_id} is stuck here: {why}.", unlike.hint) if why else unlike from None

    async def _ask(self, work: Work) -> WorkDone:
        work.signature = self._signature
        try:
            async with asyncio.timeout(self._timeout):
                return await self._decider.ask(work)
        except TimeoutError:
            raise work.not_taken(self._timeout) from None
