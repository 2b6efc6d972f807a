"""Sees to it that what a combination says happens to the messages and processes of a simulated run."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from choros.app.handler import Call
from choros.saga.outline import Commanded
from choros.wire.envelope import Wire
from choros_verify.simulation.broker import NEVER
from choros_verify.simulation.faults import Fault, MessageFault
from choros_verify.simulation.processes import running
from choros_verify.simulation.real_code_cases import Case, Do
from choros_verify.simulation.world import World

AWAY = 1.0
"""Seconds until a crashed participant is back."""
SLACK = 30.0
"""Seconds by which an answer comes too late."""


class Director:
    """Interferes with one run. It looks at the keys of messages and commands, and leaves all else alone."""

    def __init__(self, world: World, case: Case, steps: Sequence[Commanded]) -> None:
        self._world = world
        self._does: dict[str, Do] = dict(case.does)
        self._too_late = {
            leaf.path: (leaf.retry.total + leaf.timeout + leaf.retry.max).total_seconds() + SLACK for leaf in steps
        }
        self._expiring = {leaf.path for leaf in steps if leaf.expires}
        self._seen: Counter[tuple[str, str]] = Counter()
        world.broker.meddle = self.meddle_with_message
        world.stage.meddle = self.meddle_with_handler
        world.loop.call_later(SLACK, self._let_the_client_go)

    def meddle_with_message(self, process: str, wire: Wire) -> Sequence[Fault]:
        """What strikes this message."""
        kind = str(wire.headers.get("cloudEvents_sagakind"))
        key = str(wire.headers.get("cloudEvents_idempotencykey", ""))
        if kind == "fact" or not key.endswith(":do") or wire.headers["cloudEvents_sagastep"] not in self._does:
            return ()
        self._seen[kind, key] += 1
        first = self._seen[kind, key] == 1
        step = wire.headers["cloudEvents_sagastep"]
        if kind == "command":
            return self._command(process, step, first)
        return self._reply(process, step, first)

    async def meddle_with_handler(self, call: Call) -> None:
        """Crash in the middle of a transaction, once; at a provider, once before and once after it was asked."""
        if call.key.endswith(":do") and self._does.get(call.step) == "crash_before_commit":
            moment = "provided" if call.key in self._world.stage.provided else "handled"
            self._seen[moment, call.key] += 1
            if self._seen[moment, call.key] == 1:
                self._crash()
                await asyncio.get_running_loop().create_future()

    def _command(self, process: str, step: str, first: bool) -> Sequence[Fault]:
        """The first one arrives after the saga has given up, if its deadline refuses it then; the others never do."""
        if self._does[step] != "timeout_never_lands":
            return ()
        return (_strike("delay", process, self._too_late[step] if first and step in self._expiring else NEVER),)

    def _reply(self, process: str, step: str, first: bool) -> Sequence[Fault]:
        do = self._does[step]
        if do == "timeout_lands":
            return (_strike("delay", process, self._too_late[step] if first else NEVER),)
        if do == "crash_after_commit" and first:
            self._crash()
        elif do == "reply_lost" and first:
            return (_strike("delay", process, NEVER),)
        elif do == "reply_twice" and first:
            return (_strike("duplicate", process),)
        return ()

    def _let_the_client_go(self) -> None:
        """It has nothing more to do, and to look at its relays every second for hours takes most of the time."""
        if self._world.caller.done:
            self._world.end_process("client")
        else:
            self._world.loop.call_later(SLACK, self._let_the_client_go)

    def _crash(self) -> None:
        process = running.get()
        assert process is not None
        self._world.crash(process, AWAY)


def _strike(kind: MessageFault, process: str, amount: float = 0.0) -> Fault:
    return Fault(kind, process, 0, amount)
