"""Calling what a user wrote: for so long at most, and never waiting for what cannot be stopped.

A call is a task of its own. What it leaves in its context (a tenant, a request id, what a logger binds), or does to its
task, nobody else meets; and when it is cancelled, it is plain by whom.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from choros.errors import EXITS

T = TypeVar("T")
GRACE = 2.0
"""Seconds that a call which is cut off has to clean up."""


class HandlerCancelled(Exception):
    """A handler was cancelled by itself, or awaited something that was: its own affair, not an order to stop."""


class HandlerBroke(Exception):
    """A handler raised what is no Exception, such as the panic of an extension: a failure like any other."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(type(raised).__name__)
        self.raised = raised


class ExitWanted(Exception):
    """Somebody wants the process to end. Raised as it is in a task, that would end the loop amid everything."""

    def __init__(self, wanted: BaseException) -> None:
        super().__init__(type(wanted).__name__)
        self.wanted = wanted


async def apart(
    work: Callable[[], Awaitable[Any]],
    seconds: float | None = None,
    left_behind: Callable[[asyncio.Task[Any]], None] | None = None,
) -> Any:
    """What it comes to, in a task and context of its own; raises what it raises, as an Exception, and TimeoutError.

    When its time is up, or its caller is cancelled, it is cancelled; where it has not ended after a moment of grace,
    nobody waits for it any more, and `left_behind` is told."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[bool] = loop.create_future()
    task = loop.create_task(_ended(work, ended))
    task.add_done_callback(lambda _: _tell(ended, True))  # also where it was cut off before it began
    timer = None if seconds is None else loop.call_later(seconds, _tell, ended, False)
    try:
        in_time = await ended
    except asyncio.CancelledError:  # whoever waits is to stop: the work cannot reach it
        await _cut_off(task, left_behind)
        raise
    finally:
        if timer is not None:
            timer.cancel()
    if not in_time:
        await _cut_off(task, left_behind)
    if not task.done():
        raise TimeoutError
    return _result(task, in_time)


def _tell(ended: asyncio.Future[bool], in_time: bool) -> None:
    if not ended.done():
        ended.set_result(in_time)


async def _cut_off(task: asyncio.Task[Any], left_behind: Callable[[asyncio.Task[Any]], None] | None) -> None:
    """Cancel it, and wait a moment. What then goes on keeps no loop from closing."""
    task.cancel()
    try:
        await asyncio.wait({task}, timeout=GRACE)
    finally:
        if not task.done():
            _forget(task)
            if left_behind is not None:
                left_behind(task)


def _forget(task: asyncio.Task[Any]) -> None:
    """`asyncio.run` waits for every task that it can find, for ever for one that cannot be cancelled."""
    asyncio.tasks._unregister_task(task)
    task._log_destroy_pending = False  # type: ignore[attr-defined] # as asyncio itself does for what nobody awaits


def _result(task: asyncio.Task[tuple[Any, Exception | None]], in_time: bool) -> Any:
    """Too late is too late, whatever it returned; what it raised says more than that."""
    if task.cancelled():
        raise HandlerCancelled if in_time else TimeoutError
    result, error = task.result()
    if error is not None:
        raise error
    if not in_time:
        raise TimeoutError
    return result


async def _ended(work: Callable[[], Awaitable[Any]], ended: asyncio.Future[bool]) -> tuple[Any, Exception | None]:
    """What it came to; an exit must not leave the task. It is called only here: a task may be cut off before it begins,
    and would leave a coroutine that nobody awaits."""
    try:
        return await work(), None
    except asyncio.CancelledError:
        raise
    except EXITS as wanted:
        return None, ExitWanted(wanted)
    except Exception as error:
        return None, error
    except BaseException as error:
        return None, HandlerBroke(error)
    finally:
        _tell(ended, True)  # whoever waits goes on as soon as the task has ended, one round of the loop earlier


async def in_order(work: Callable[[], Awaitable[T]]) -> T:
    """Await it; who wants the process to end gets ExitWanted out of it."""
    try:
        return await work()
    except EXITS as wanted:
        raise ExitWanted(wanted) from None


def plainly(error: BaseException) -> BaseException:
    """What was raised in the first place."""
    if isinstance(error, ExitWanted):
        return error.wanted
    return error.raised if isinstance(error, HandlerBroke) else error
