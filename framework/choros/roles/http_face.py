"""What a role answers over HTTP: `/livez` and `/readyz` for a supervisor, `/metrics` for Prometheus.

It answers in the role's own loop, so a process whose loop stands still answers nobody."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from choros.errors import UsageError
from choros.runtime.host.vitals import Vitals
from choros.sources import now
from choros.telemetry.logs import get_logger

log = get_logger(__name__)

HINT = "127.0.0.1:9100, or [::1]:9100."
Exposition = Callable[[], Awaitable[tuple[str, bytes]]]
"""Makes what Prometheus reads: the type of the text, and the text."""
_JSON = b"application/json"
_AsgiMessage = MutableMapping[str, Any]
_AsgiReceive = Callable[[], Awaitable[_AsgiMessage]]
_AsgiSend = Callable[[_AsgiMessage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class HttpPlace:
    """Where a process listens."""

    host: str
    port: int

    @staticmethod
    def read(text: str) -> HttpPlace:
        """As somebody has typed it; raises UsageError."""
        host, separator, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (separator and host and port.isascii() and port.isdecimal() and int(port) <= 65535):
            raise UsageError(f"{text!r} is no place to listen at.", HINT)
        return HttpPlace(host, int(port))

    def bound(self) -> socket.socket:
        """A socket there; raises UsageError where that cannot be."""
        try:
            (family, *_, address), *_ = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            found = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise UsageError(f"Nothing can listen at {self}: {error.strerror}.", HINT) from None
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except OSError as error:
            found.close()
            raise UsageError(f"Nothing can listen at {self}: {error.strerror}.", "another port.") from None
        return found

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@contextmanager
def of_extra(what: str = "--http") -> Iterator[None]:
    """What is imported here comes with an extra of the package; raises UsageError where that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"{what} needs the package {error.name}.", "pip install 'choros[http]'.") from None


@asynccontextmanager
async def facing_http(place: HttpPlace, vitals: Vitals, metrics: Exposition) -> AsyncIterator[int]:
    """Answer there for as long as the block runs; gives the port. Raises UsageError."""
    with of_extra():
        import uvicorn

    class Quiet(uvicorn.Server):
        """Signals are the role's own affair."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leave them as they are."""
            yield

    face = _Face(vitals, metrics)
    quiet: dict[str, Any] = {"log_config": None, "log_level": "warning", "access_log": False}
    config = uvicorn.Config(face, lifespan="off", timeout_graceful_shutdown=1, **quiet)
    with place.bound() as listening:
        server = Quiet(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        port = int(listening.getsockname()[1])
        log.info("choros.http.listening", at=str(HttpPlace(place.host, port)))
        try:
            yield port
        finally:
            server.should_exit = True
            await asyncio.wait({serving})


class _Face:
    """The answers, as an ASGI application."""

    def __init__(self, vitals: Vitals, metrics: Exposition) -> None:
        self._vitals, self._metrics = vitals, metrics

    async def __call__(self, scope: _AsgiMessage, receive: _AsgiReceive, send: _AsgiSend) -> None:
        """Answer one request."""
        if scope["method"] not in ("GET", "HEAD"):
            status, kind, body = 405, _JSON, _said({"status": "GET and HEAD only"})
        else:
            status, kind, body = await self._answer(scope["path"])
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"allow", b"GET, HEAD")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})

    async def _answer(self, path: str) -> tuple[int, bytes, bytes]:
        match path:
            case "/livez":
                return 200, _JSON, _said({"status": "ok"})
            case "/readyz":
                return self._ready()
            case "/metrics":
                kind, text = await self._metrics()
                return 200, kind.encode(), text
            case _:
                return 404, _JSON, _said({"status": "there are /livez, /readyz and /metrics"})

    def _ready(self) -> tuple[int, bytes, bytes]:
        report = self._vitals.look()
        wrong = [*(["It is stopping."] if self._vitals.stopping else []), *report.complaints(now())]
        checks = {"broker": report.broker.state, "store": report.store.state, "stopping": self._vitals.stopping}
        said = {"status": "not ready" if wrong else "ok", "checks": checks, "complaints": wrong}
        return 503 if wrong else 200, _JSON, _said(said)


def _said(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
