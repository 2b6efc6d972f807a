"""A socket in virtual time: bytes between a simulated process and a simulated server, broken and merged by chance.

pipes = Pipes(network)
reader, writer = await pipes.open("payment-1", server)  # in the process; `server` makes of the pipe a `Listener`

The process has a real `asyncio.StreamReader`, and as much of a `StreamWriter` as aiormq and redis-py use. The server is
called back in the network's context: a process that stands still takes nothing, and one that is gone is seen to be.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from choros_verify.simulation.broker_latency import Network
from choros_verify.simulation.byte_road import Arrived, ByteRoad

ROOM = 256 * 1024
"""Bytes that fit between the two before `drain` waits."""


class Listener(Protocol):
    """The server's end."""

    def received(self, data: bytes) -> None:
        """These bytes have come: half a frame, or several."""

    def ended(self) -> None:
        """Nothing more will come, and nothing that is answered arrives."""


class Pipe:
    """One connection of a process to a server, as the server and whatever strikes the network see it."""

    def __init__(self, network: Network, process: str) -> None:
        self.process = process
        """Whose it is."""
        self.listener: Listener
        """The server's end; there before anything comes."""
        self.reader = asyncio.StreamReader(loop=asyncio.get_running_loop())
        self.writer = PipeWriter(self)
        self.over = False
        """Whether either side has ended it; what is under way may still arrive."""
        self.reset = False
        """Whether the process knows that nothing it writes can arrive."""
        self.broken_off: Callable[[Pipe], None] = lambda _: None
        """Called when the server's end is over."""
        self._network = network
        self._left = self._deaf = self._unheard = False
        self.there = ByteRoad(network, self._reach_server)
        """From the process to the server."""
        self.back = ByteRoad(network, self._reach_process)
        """From the server to the process."""

    # --- what the server does ---

    def answer(self, data: bytes, arrived: Arrived | None = None) -> None:
        """Send this to the process; `arrived` is called once it has all of it."""
        self.back.send(data, arrived)

    def end(self) -> None:
        """Close it: what was answered still arrives, and then the end."""
        if not self.over:
            self.over = True
            self.back.send(b"", self._end_of_stream)
            self.there.cut(0)
        self._leave_server()

    def stop_reading(self) -> None:
        """Let what comes wait."""
        self.there.shut()

    def go_on_reading(self) -> None:
        """Take what has come meanwhile, and go on."""
        self.there.open()

    # --- what strikes it ---

    def cut(self) -> None:
        """It is lost at once: of what is under way, either way, some bytes may still arrive."""
        if self.over:
            self._leave_server()
            return
        self.over = True
        network = self._network
        self.there.cut(network.how_many(self.there.size))
        self.back.cut(network.how_many(self.back.size))
        self._leave_server()
        if not self._deaf:
            self._tell_process(ConnectionResetError("Connection lost") if network.coin() else None)

    def half_open(self, *, there: bool = True, back: bool = True) -> None:
        """Nothing arrives any more, in one direction or both, and nobody is told."""
        if there:
            self._unheard = True
            self.there.lose()
        if back:
            self._deaf = True
            self.back.lose()

    def stall(self, seconds: float) -> None:
        """Nothing moves for so long, either way."""
        roads = (self.there, self.back)
        for road in roads:
            road.shut()
            self._network.later(seconds, road.open)

    def slow(self, seconds: float) -> None:
        """For so long both sides take a few bytes at a time."""
        self.there.slow(seconds)
        self.back.slow(seconds)

    # --- what the process does ---

    def close(self) -> None:
        """The process has closed it: what it has written arrives, and then the end."""
        if not self.over:
            self.over = self.reset = True
            self.back.cut(0)
            self.there.send(b"", self._leave_server)
        self._tell_process(None)

    def die(self) -> None:
        """The process is gone: some of what it has written may still arrive."""
        if not self.over:
            self.over = True
            self.back.cut(0)
            self.there.cut(self._network.how_many(self.there.size))
            if not self._unheard:
                self._leave_server()

    # --- within ---

    def _reach_server(self, data: bytes) -> None:
        if data:
            self.listener.received(data)
        self.writer.wake()

    def _reach_process(self, data: bytes) -> None:
        if data and not self.reset:
            self.reader.feed_data(data)

    def _end_of_stream(self) -> None:
        self._tell_process(None)

    def _tell_process(self, error: Exception | None) -> None:
        self.reset = True
        if error is not None:
            self.reader.set_exception(error)
        self.reader.feed_eof()
        self.writer.wake()

    def _leave_server(self) -> None:
        if not self._left:
            self._left = True
            self.listener.ended()
            self.broken_off(self)


class PipeWriter:
    """As much of an `asyncio.StreamWriter` as clients use; it is its own `transport`."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._closing = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def transport(self) -> "PipeWriter":
        """What clients abort."""
        return self

    def write(self, data: bytes) -> None:
        """Let this set out; where there is nobody any more, it is lost."""
        if data and not self._closing and not self._pipe.reset:
            self._pipe.there.send(bytes(data))

    def writelines(self, lines: Iterable[bytes]) -> None:
        """The same for several."""
        self.write(b"".join(lines))

    async def drain(self) -> None:
        """Wait until there is room; raises ConnectionResetError where nothing can arrive any more."""
        while True:
            if self._pipe.reset:
                raise self._pipe.reader.exception() or ConnectionResetError("Connection lost")
            if self._pipe.there.size <= ROOM:
                return
            self._waiting.append(asyncio.get_running_loop().create_future())
            await self._waiting[-1]

    def wake(self) -> None:
        """There may be room, or nobody any more."""
        while self._waiting and (self._pipe.reset or self._pipe.there.size <= ROOM):
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)

    def close(self) -> None:
        """End it."""
        if not self._closing:
            self._closing = True
            self._pipe.close()

    def abort(self) -> None:
        """End it, whatever is under way."""
        self._pipe.there.lose()
        self.close()

    async def wait_closed(self) -> None:
        """It is closed at once."""

    def is_closing(self) -> bool:
        """Whether it is closed, or was lost."""
        return self._closing or self._pipe.reset

    def can_write_eof(self) -> bool:
        """Never: who closes it is understood."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing is known of a simulated socket."""
        return default


class Pipes:
    """All connections of the simulated processes: who dies loses them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._open: dict[Pipe, None] = {}

    async def open(self, process: str, listen: Callable[[Pipe], Listener]) -> tuple[asyncio.StreamReader, PipeWriter]:
        """Connect; raises ConnectionRefusedError where `listen` does."""
        await asyncio.sleep(self.network.seconds(self.network.latency.call))
        pipe = self.network.within(partial(self._opened, process, listen))
        return pipe.reader, pipe.writer

    def of(self, process: str) -> list[Pipe]:
        """Those of one process that are open, the oldest first."""
        return [pipe for pipe in self._open if pipe.process == process]

    def drop(self, process: str) -> None:
        """A process is gone, and its connections with it."""
        for pipe in self.of(process):
            pipe.die()

    def _opened(self, process: str, listen: Callable[[Pipe], Listener]) -> Pipe:
        pipe = Pipe(self.network, process)
        pipe.listener = listen(pipe)
        self._open[pipe] = None
        pipe.broken_off = self._forget
        return pipe

    def _forget(self, pipe: Pipe) -> None:
        self._open.pop(pipe, None)
