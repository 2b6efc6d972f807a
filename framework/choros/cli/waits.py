"""What a saga waits for, in words: the end of `saga show`, and what `saga run` says while it waits."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from datetime import timedelta
from textwrap import wrap
from typing import Any, TypeVar

from choros.app.app import App
from choros.cli.output import ago, remark
from choros.cli.progress import waiting
from choros.cli.words import command
from choros.desk.awaited import Awaited, asleep, untold, waits_for
from choros.errors import ChorosError
from choros.messages import Message
from choros.roles.addresses import Addresses, connected, open_transport, opened_locks, opened_store
from choros.runtime.client.client import Client
from choros.runtime.client.outcome import Outcome
from choros.runtime.host.presence import AskQueue, told
from choros.saga.machine.instance import Instance
from choros.saga.saga import Saga
from choros.store.sagas import Record, Store
from choros.transport.inspection import LookingTransport
from choros.transport.port import Seen
from choros.wire.attributes import rfc3339
from choros.wire.own_headers import Headers

T = TypeVar("T")
SOON = 5.0
"""Seconds after which who waits is told what for."""
AGAIN = 5.0
WIDTH = 80
MOST_PARKED = 5
"""Nodes that are told one by one."""
PATIENCE = 3.0
"""Seconds for a broker that is asked on the side."""


def waiting_lines(
    application: str, store: str, record: Record, instance: Instance, one: Awaited | None, now: float
) -> list[str]:
    """Lines for a person; none where it waits for nothing."""
    return [*_waiting(application, store, record, instance, one, now), *lock_lines(application, instance, now)]


def lock_lines(application: str, instance: Instance, now: float) -> list[str]:
    """What it keeps others from, or is kept from."""
    if instance.lock is None or instance.terminal:
        return []
    if not instance.queued:
        return [f"has locked {', '.join(instance.lock.keys)}"]
    key, until = instance.lock.key or ", ".join(instance.lock.keys), instance.lock.until
    behind = f", which saga {instance.lock.holder} had" if instance.lock.holder else ""
    waits = _until(f"waits for the lock {key}{behind},", until, now) if until else f"waits for the lock {key}{behind}"
    return [
        *_told(waits, ""),
        *([f"  Try: choros lock show {shlex.quote(application)} {shlex.quote(key)}"] if instance.lock.holder else []),
    ]


def _waiting(
    application: str, store: str, record: Record, instance: Instance, one: Awaited | None, now: float
) -> list[str]:
    if instance.paused:
        then = f", and then for a person: {instance.why_parked}" if instance.status == "parked" else ": nothing is sent"
        return _told(f"waits to be resumed{then}", command("resume", application, store, record.key))
    if instance.status == "parked":
        return list(_parked(application, store, record, instance))
    if one is None:
        tell = command("signal", application, store, record.key)
        lines = [_until(f"sleeps at {path}", until, now) for path, until in asleep(instance)]
        lines += [_until(f"waits to be told at {path}", until, now) for path, until in untold(instance)]
        return [*lines, *([f"  Try: {tell}"] if untold(instance) else [])]
    role = _lacking(one)
    run = f"choros run {application} --role {role}" if role else ""
    return [_head(one, now), f"  {_attempt(one, now)}", *_told(_why(one), run, indent="  ")]


def _parked(application: str, store: str, record: Record, instance: Instance) -> Iterator[str]:
    """Each node by itself; where there are several, a person has to say which."""
    reasons = {path: state.parked for path, state in instance.parked_at.items()} or {"": instance.why_parked}
    for path, why in list(reasons.items())[:MOST_PARKED]:
        which = ("--step", path) if len(reasons) > 1 else ()
        yield from _told(f"waits for a person: {why}", command("retry", application, store, record.key, *which))
    if (others := len(reasons) - MOST_PARKED) > 0:
        yield f"and for a person at {others} other step{'' if others == 1 else 's'}"


def _until(what: str, until: float, now: float) -> str:
    return f"{what} until {rfc3339(until)[:19]}Z, {ago(until - now)} from now"


def _lacking(one: Awaited) -> str:
    """The role that nobody plays."""
    if not one.nested and not one.unsent and _empty(one.seen):
        return f"service:{one.service}"
    return "orchestrator" if _empty(one.answers) else ""


def _empty(seen: Seen) -> bool:
    return seen.state in ("there", "missing") and not seen.consumers


def _told(why: str, hint: str, indent: str = "") -> list[str]:
    lines = wrap(why, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False)
    return [*lines, f"  Try: {hint}"] if hint else lines


def in_a_sentence(one: Awaited, now: float) -> str:
    """The same, for the end of a sentence."""
    return "; ".join(part for part in (_head(one, now), _why(one)) if part)


def as_data(one: Awaited | None, instance: Instance) -> dict[str, Any]:
    """The same for programs."""
    sleeps = [{"step": path, "until": rfc3339(until)} for path, until in asleep(instance)]
    signals = [{"wait": path, "until": rfc3339(until)} for path, until in untold(instance)]
    told: dict[str, Any] = {"waits": asdict(one) if one else None, "sleeps": sleeps, "signals": signals}
    if instance.lock and not instance.terminal:
        told["lock"] = {"keys": instance.lock.keys, "taken": instance.lock.taken, "holder": instance.lock.holder}
    return {name: value for name, value in told.items() if value}


_OF = {"undo": "the undo of ", "close": "the end of ", "release": "the release of ", "cancel": "the end of "}


def _head(one: Awaited, now: float) -> str:
    what = _OF.get(one.operation, "")
    beside = f", and for {one.others} other answer{'' if one.others == 1 else 's'}" if one.others else ""
    return f"waits for {what}{one.step} at {one.service}, since {ago(now - one.since)}{beside}"


def _attempt(one: Awaited, now: float) -> str:
    if one.finish_by is not None:
        asks = one.next_try is not None and now < one.next_try < one.finish_by and not one.held
        again = f"asked again in {ago((one.next_try or now) - now)}, " if asks else ""
        return f"taken, and finished from outside; {again}it gives up in {ago(one.finish_by - now)}"
    limit = f" of {one.attempts}" if one.attempts else ""
    following = "" if one.next_try is None else f", the next in {ago(one.next_try - now)}"
    last = f"; it gives up in {ago(one.until - now)}" if one.until > now else "; this is the last"
    return f"attempt {one.attempt}{limit}{following}{last}"


def _why(one: Awaited) -> str:
    if not _empty(one.answers):  # somebody takes its answer, and tries again
        return _why_unanswered(one)
    if _lacking(one) == "orchestrator":
        return "no orchestrator on this store is at work: nobody consumes its replies"
    return f"{_why_unanswered(one)}; no orchestrator on this store is at work, either"


def _why_unanswered(one: Awaited) -> str:
    if one.unsent:
        return _why_unsent(one) if one.queue else "no orchestrator has taken it in hand yet"
    if one.finish_by is not None:
        return f"choros unfinished list APP {one.service} says under which token"
    if one.nested:
        return f"saga {one.nested} is {one.nested_is}"
    if one.answered:
        return "the last attempt failed, and was answered"
    if not one.queue:
        return "an orchestrator carries it out itself: its handler is at work, or hangs (choros health)"
    if one.seen.state == "untold":
        return f"whether anybody consumes {one.queue} is not known: the broker did not say (--broker)"
    return told(one.seen, one.service, one.queue)


def _why_unsent(one: Awaited) -> str:
    if one.seen.state == "missing":
        return f"its command has not left: {told(one.seen, one.service, one.queue)}"
    if one.seen.state == "there":
        full = f"takes nothing more ({one.seen.waiting:,} waiting there)"
        return f"its command has not left, though the broker answers: it is blocked, or {one.queue} {full}"
    return "its command has not left: the broker is away, or takes nothing"


# --- asking -----------------------------------------------------------------------------------------------------------


async def on_the_side(broker: str, namespace: str, ask: Callable[[LookingTransport], Awaitable[T]], otherwise: T) -> T:
    """What the broker at this address is asked; otherwise where it does not answer soon."""
    transport = open_transport(broker, namespace, "show")
    try:
        async with asyncio.timeout(PATIENCE):
            await transport.connect()
            return await ask(transport)
    except (ChorosError, TimeoutError):
        return otherwise
    finally:
        await transport.close()


def asking(broker: str, namespace: str) -> AskQueue | None:
    """A broker to ask, where there is one that answers soon."""
    if broker.startswith("memory:"):
        return None  # another process's is not to be had
    return lambda queue: on_the_side(broker, namespace, lambda there: there.attendance(queue), Seen("untold"))


async def run_and_tell(
    app: App, addresses: Addresses, saga: Saga[Any], message: Message, key: str | None, wait: timedelta, begun: Unended,
    headers: Headers,
) -> Outcome[Any]:  # fmt: skip
    """Start a saga and wait for its outcome, and say on stderr what it waits for where that takes long."""
    async with (
        connected(addresses, app, "client") as broker,
        opened_store(addresses, app) as store,
        AsyncExitStack() as stack,
    ):
        locks = await stack.enter_async_context(opened_locks(addresses, app)) if app.locks else None
        client = await stack.enter_async_context(Client(app, store=store, transport=broker, locks=locks))
        begun.saga_id = await client.with_headers(headers).start(saga, message, key=key)
        telling = asyncio.create_task(_keep_telling(app, store, broker.attendance, begun))
        try:
            async with waiting(f"saga {saga.name} is under way"):
                return await client.wait(begun.saga_id, timeout=wait)
        except ChorosError:
            with suppress(ChorosError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    begun.why = await _now(app, store, broker.attendance, begun.saga_id)
            raise
        finally:
            telling.cancel()


class Unended:
    """What is known of a run whose end has not come."""

    saga_id = ""
    why = ""
    """What it waits for, in words."""


async def _keep_telling(app: App, store: Store, ask: AskQueue, begun: Unended) -> None:
    said = ("", "")
    await asyncio.sleep(SOON)
    while True:
        with suppress(ChorosError):
            one = await waits_for(app.sagas, app.namespace, store, begun.saga_id, ask)
            why = _why(one) if one else ""
            if one and (one.step, why) != said:
                said = one.step, why
                remark(f"… {in_a_sentence(one, store.now())}")
        await asyncio.sleep(AGAIN)


async def _now(app: App, store: Store, ask: AskQueue, saga_id: str) -> str:
    one = await waits_for(app.sagas, app.namespace, store, saga_id, ask)
    return in_a_sentence(one, store.now()) if one else ""
