"""The other end of `proxy`: starts it, and tells it what to do to which link."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.private_servers import die_with_parent


class Wire:
    """A running proxy. Links are named `client.server`, and chosen by patterns such as `*.redis`."""

    def __init__(self, folder: Path) -> None:
        self._folder = TemporaryDirectory(prefix="wire-")  # the address of a socket has room for 107 characters
        self._control = Path(self._folder.name) / "proxy.sock"
        self._log = folder / "proxy.log"
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._one_at_a_time = asyncio.Lock()

    async def open(self) -> None:
        """Start the process and reach it."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.chaos.proxy", str(self._control),
                stdout=log, stderr=log, preexec_fn=die_with_parent,
            )  # fmt: skip
        async with asyncio.timeout(60):
            while self._writer is None:
                await asyncio.sleep(0.05)
                assert self._process.returncode is None, self._log.read_text(encoding="utf-8")
                with suppress(OSError):  # it does not listen yet
                    self._reader, self._writer = await asyncio.open_unix_connection(str(self._control))

    async def close(self) -> None:
        """End it, and every connection with it."""
        if self._writer is not None:
            self._writer.close()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._folder.cleanup()

    async def link(self, name: str, targets: Sequence[tuple[str, int]]) -> int:
        """Open a link; returns its port."""
        return int((await self._ask(do="open", link=name, targets=list(targets)))["port"])

    async def set(self, links: str, mood: str, **more: float) -> int:
        """Change the mood of these links; returns how many they are."""
        return int((await self._ask(do="set", links=links, mood=mood, **more))["links"])

    async def cut(self, links: str) -> int:
        """Cut these links' connections; returns how many there were."""
        return int((await self._ask(do="cut", links=links))["cut"])

    async def frames(self) -> dict[str, int]:
        """How many frames of each counted kind have come to anybody."""
        return await self._ask(do="count")

    async def _ask(self, **order: Any) -> dict[str, int]:
        assert self._reader is not None and self._writer is not None, "open() first"
        async with self._one_at_a_time:
            self._writer.write(json.dumps(order).encode() + b"\n")
            answer: dict[str, int] = json.loads(await self._reader.readline())
            return answer
