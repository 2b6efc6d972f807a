"""A client for programs without `async`, such as scripts and Django: an event loop in a thread does its work."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import timedelta
from threading import Thread
from typing import Any, TypeVar

from choros.app.choreography import Choreography
from choros.errors import UsageError
from choros.messages import Fact, Message, Reply, Signal, Update
from choros.names import BusinessKey
from choros.runtime.client.client import Client
from choros.runtime.client.outcome import Outcome
from choros.runtime.client.query import SagaState
from choros.saga.saga import Saga
from choros.wire.own_headers import Headers

S = TypeVar("S", bound=Message)
F = TypeVar("F", bound=Fact)
R = TypeVar("R", bound=Message)
A = TypeVar("A", bound=Reply)
T = TypeVar("T")


@contextmanager
def blocking(opening: AbstractAsyncContextManager[Client]) -> Iterator[BlockingClient]:
    """A client that waits: `with blocking(client_of(app, addresses)) as client:`, or of `running(app)`.

    What it opens lives in a thread of its own until the block ends. Threads may share it; a process that is forked
    makes one of its own afterwards. Raises what `opening` raises, and UsageError in a coroutine."""
    _check_outside()
    loop = asyncio.new_event_loop()
    thread = Thread(target=_turn, args=(loop,), name="choros-client", daemon=True)
    thread.start()
    try:
        opened: concurrent.futures.Future[Client] = concurrent.futures.Future()
        over = asyncio.Event()
        held = asyncio.run_coroutine_threadsafe(_hold(opening, opened, over), loop)
        try:
            yield BlockingClient(opened.result(), loop)
        finally:
            loop.call_soon_threadsafe(over.set)
            held.result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


async def _hold(
    opening: AbstractAsyncContextManager[Client], opened: concurrent.futures.Future[Client], over: asyncio.Event
) -> None:
    """Open it, and close it in the same task."""
    try:
        client = await opening.__aenter__()
    except BaseException as error:
        opened.set_exception(error)
        return
    opened.set_result(client)
    await over.wait()
    await opening.__aexit__(None, None, None)


def _check_outside() -> None:
    """Waiting in a loop would stop it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    sentence = "A client that blocks is used within a running event loop."
    raise UsageError(sentence, "async with client_of(...) as client.")


class BlockingClient:
    """What a program without `async` does with sagas; each call as that of `Client` which has its name."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        """Made by `blocking`."""
        self._client, self._loop = client, loop

    def with_headers(self, headers: Headers) -> BlockingClient:
        """The same, whose sagas and flows are begun with headers of the user's own; raises UsageError."""
        return BlockingClient(self._client.with_headers(headers), self._loop)

    def start(self, saga: Saga[S, Any], message: S, *, key: BusinessKey | None = None) -> str:
        """Start a saga and return its id as soon as it is in the store; from then on it will end."""
        return self._wait(self._client.start(saga, message, key=key))

    def begin(self, flow: Choreography[F], fact: F, *, run: int = 1, correlation_id: str = "") -> str:
        """Begin a flow; its id, once the broker has its first fact. The same key and run is the same flow."""
        return self._wait(self._client.begin(flow, fact, run=run, correlation_id=correlation_id))

    def run(
        self, saga: Saga[S, R], message: S, *, key: BusinessKey | None = None, timeout: timedelta | None = None
    ) -> Outcome[R]:
        """Start a saga and wait for its outcome; raises OutcomePending past the timeout."""
        return self._wait(self._client.run(saga, message, key=key, timeout=timeout))

    def wait(self, saga_id: str, *, timeout: timedelta | None = None) -> Outcome[Any]:
        """Wait until the saga has ended or is parked; raises OutcomePending past the timeout, SagaNotFound."""
        return self._wait(self._client.wait(saga_id, timeout=timeout))

    def outcome(self, saga_id: str) -> Outcome[Any]:
        """How far the saga is, or was when it ended; raises SagaNotFound."""
        return self._wait(self._client.outcome(saga_id))

    def query(self, saga_id: str, *, until: str = "", timeout: timedelta | None = None) -> SagaState:
        """Where the saga stands; with `until` only once that step has replied, or never will."""
        return self._wait(self._client.query(saga_id, until=until, timeout=timeout))

    def id_of(self, reference: str) -> str:
        """The id of the instance that goes by this id, start key or beginning of an id; raises SagaNotFound."""
        return self._wait(self._client.id_of(reference))

    def cancel(self, saga_id: str) -> str:
        """Have the saga undone, if it can be; says what becomes of that."""
        return self._wait(self._client.cancel(saga_id))

    def signal(self, saga_id: str, signal: Signal | Fact, *, wait: str = "", id: str = "") -> str:
        """Tell a running saga what it waits for; says what becomes of that."""
        return self._wait(self._client.signal(saga_id, signal, wait=wait, id=id))

    def signal_or_start(
        self, saga: Saga[S, Any], message: S, signal: Signal | Fact, *, key: BusinessKey | None = None, wait: str = ""
    ) -> tuple[str, str]:
        """Start a saga that is told something at once, or tell that to the one that was started so before. Its id, and
        'started' or what `signal` says."""
        return self._wait(self._client.signal_or_start(saga, message, signal, key=key, wait=wait))

    def retry(self, saga_id: str, step: str | None = None) -> str:
        """Try the step again at which the saga is parked; says what becomes of that."""
        return self._wait(self._client.retry(saga_id, step))

    def skip(self, saga_id: str, step: str, reply: Message | None = None) -> str:
        """Go on as if the parked step had been answered so; says what becomes of that."""
        return self._wait(self._client.skip(saga_id, step, reply))

    def rerun(self, saga_id: str, step: str) -> str:
        """Run a saga that has ended again from a step; the id of the new instance."""
        return self._wait(self._client.rerun(saga_id, step))

    def update(self, saga_id: str, update: Update[A], *, id: str = "") -> A:
        """Ask a running saga for a change; its answer, or UpdateRefused."""
        return self._wait(self._client.update(saga_id, update, id=id))

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        """What it comes to. Who is interrupted leaves it: what was stored goes on."""
        try:
            _check_outside()
        except UsageError:
            asked.close()
            raise
        doing = asyncio.run_coroutine_threadsafe(asked, self._loop)
        try:
            return doing.result()
        except BaseException:
            doing.cancel()
            raise
