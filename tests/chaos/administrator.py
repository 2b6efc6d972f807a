"""Who sets the broker up, and sets it right again where the roles may not: as an operator with `choros topology`.

Only in runs under the least permissions. In the others every role may do everything and creates again what is gone."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from choros import Addresses
from choros.roles.addresses import opened_store
from tests.chaos.battlefield import Battlefield, in_thread, url_of
from tests.chaos.voyages import app

APP = "tests.chaos.voyages:app"
PASSWORD = "least"
_PATIENCE = 90.0


class Refused(Exception):
    """A command of the administrator's that did not succeed."""


class Administrator:
    """Knows what has to be there, and who may do what."""

    def __init__(self, battlefield: Battlefield, folder: Path, *, permits: bool) -> None:
        """`permits`: each role is a user of its own, with no right to create anything."""
        self.permits = permits
        self.queues: list[str] = []
        """What roles consume, also for the replies to their store."""
        self.roles: list[str] = []
        """Those that have a user."""
        self._battlefield = battlefield
        self._definitions = folder / "permissions.json"

    @property
    def addresses(self) -> Addresses:
        """Past the proxy, as a user who may do everything."""
        sagas = self._battlefield.sagas
        broker, at = self._battlefield.address(self._battlefield.nodes[0])
        return Addresses(f"amqp://guest:guest@{broker}:{at}/", url_of(sagas, *self._battlefield.address(sagas)))

    def user(self, role: str) -> str:
        """Name and password, for an address."""
        return f"{role}:{PASSWORD}" if self.permits else "guest:guest"

    async def open(self) -> None:
        """Before anybody else is there."""
        async with opened_store(self.addresses, app) as store:
            whole = app.topology + app.replies_on(store.identity, store.lasting)
        names = [one.name for one in whole.queues]
        self.queues = [name for name in names if ".retry." not in name and not name.endswith(".dead")]
        if self.permits:
            permitted = json.loads(await self.choros("topology", "permissions", APP, "--json"))["permissions"]
            self.roles = [row["user"] for row in permitted]
            users = [{"name": role, "password": PASSWORD, "tags": ""} for role in self.roles]
            self._definitions.write_text(json.dumps({"users": users, "permissions": permitted}), encoding="utf-8")
            await self.mend()

    async def mend(self) -> None:
        """Everything that is missing, and the users, who may be gone as well."""
        until = time.monotonic() + _PATIENCE
        while self.permits:
            try:
                await self.choros("topology", "apply", APP)
                await self._ctl("import_definitions", str(self._definitions))
            except Exception:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(1)
            else:
                return

    async def forbid(self, role: str) -> None:
        """Take everything away from it, until all is mended."""
        await self._ctl("set_permissions", role, "^$", "^$", "^$")

    async def _ctl(self, *words: str) -> None:
        await in_thread(self._battlefield.ctl, self._battlefield.nodes[0], *words)

    async def choros(self, *words: str, role: str = "") -> str:
        """What this command prints, run as a role or as who may do everything; raises Refused."""
        broker = self.addresses.broker.replace("guest:guest", self.user(role) if role else "guest:guest")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "choros", *words,
            env={**os.environ, "CHOROS_BROKER": broker, "CHOROS_STORE": self.addresses.store},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, complained = await process.communicate()
        if process.returncode:
            raise Refused(f"choros {' '.join(words)}: {(complained or said).decode(errors='replace').strip()[-500:]}")
        return said.decode()
