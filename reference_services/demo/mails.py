"""The demo's own mail server: it accepts every mail and keeps it in a file, one line a mail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session


class _Keeper:
    """Writes down what comes in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Called by aiosmtpd for each mail."""
        mail = message_from_bytes(envelope.original_content or b"")
        kept = {"to": envelope.rcpt_tos, "subject": mail["Subject"], "id": mail["Message-ID"]}
        with self._path.open("a") as file:
            file.write(json.dumps(kept) + "\n")
        return "250 kept"


@asynccontextmanager
async def caught_mails(folder: Path) -> AsyncIterator[str]:
    """A mail server on a free loopback port, on this event loop; yields its address."""
    keeper = _Keeper(folder / "mailbox.jsonl")
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(keeper), "127.0.0.1", 0)
    try:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
