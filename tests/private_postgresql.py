"""A PostgreSQL for one test or one test run, beside the other private servers: own port on loopback, own folder.

It refuses to run as root, so there it runs as an ordinary user; and since what we make in a temporary folder is closed
to that user, it reaches its files through a descriptor that we opened. Only the standard library.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.private_servers import BOOT_SECONDS, LIBC, SEARCH_PATH, BootFailed, PrivateServer, answer_to, free_ports

USERS = ("postgres", "nobody")  # the first that this machine has
REMOVE_SHARED_MEMORY = 0  # IPC_RMID of shmctl(2)
# A start of the protocol's version 3.0, by the user that everything here belongs to.
HELLO = b"\x00\x03\x00\x00user\x00choros\x00database\x00postgres\x00\x00"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": 200,
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",  # in its folder, so that nothing is left in /dev/shm when it is killed
    "max_wal_size": "256MB",
    "recovery_init_sync_method": "syncfs",  # after a kill it would otherwise sync its thousand files one by one
    "log_min_messages": "warning",
}
INITDB = ("--username=choros", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")


def find_postgresql(program: str = "initdb") -> Path | None:
    """The server's program: on PATH, or the newest of those that Debian keeps where no PATH looks."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: float(path.parts[-3]))
    found = shutil.which(program, path=SEARCH_PATH)
    return kept[-1] if kept else Path(found) if found else None


class PrivatePostgreSQL(PrivateServer):
    """A PostgreSQL that loses nothing it has acknowledged, and believes whoever says that he is `choros`."""

    name = "postgresql"

    def __init__(self, folder: Path, copied: PrivatePostgreSQL | None = None, **settings: object) -> None:
        """Choose the port; nothing is started yet. The settings are those of its configuration file. As a copy it holds
        what the other one, which must be running, held when it was made."""
        super().__init__(folder)
        (self.port,) = free_ports(1)
        self.url = f"postgresql://choros@127.0.0.1:{self.port}/postgres"
        self.settings = {**SETTINGS, **settings}
        self.files = folder / "data"
        self.user, self._copied = ordinary_user(), copied
        self._descriptor = -1

    def spawn(self) -> None:
        """Make its files at the first time, which takes half a second, then start it."""
        self.make_files()
        with self._reached():
            super().spawn()

    def make_files(self) -> None:
        """What it will start from."""
        if not self.files.exists():
            with self._reached():
                self._make_files()

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        self.folder.chmod(0o711)  # those above it stay as closed as they are
        self._descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            yield
        finally:
            os.close(self._descriptor)

    def stop(self) -> None:
        """End it in good order, whoever is connected."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """kill -9 of it and of all that it has forked, each of which is in a session of its own."""
        forked = children_of(self.pid) if self.process else []
        super().kill()
        for pid in forked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for_end(forked)
        free_shared_memory(self.folder)

    def _make_files(self) -> None:
        self.files.mkdir(mode=0o700)
        if self.user:
            os.chown(self.files, self.user.pw_uid, self.user.pw_gid)
        copying = (
            ("pg_basebackup", "--checkpoint=fast", "--no-sync", f"--dbname={self._copied.url}") if self._copied else ()
        )
        making = self._popen(self._program(*copying or ("initdb", *INITDB)), self._environment())
        if making.wait(BOOT_SECONDS) != 0:
            shutil.rmtree(self.files)
            raise BootFailed(f"Its files could not be made. The end of the log:\n{self._log_tail()}")
        with (self.files / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{key} = '{value}'\n" for key, value in self.settings.items())

    def _command(self) -> list[str]:
        return self._program("postgres", f"--port={self.port}")

    def _program(self, name: str, *arguments: str) -> list[str]:
        files = f"/proc/self/fd/{self._descriptor}/data" if self.user else str(self.files)
        return [str(find_postgresql(name)), "-D", files, *arguments]

    def _popen_options(self) -> dict[str, Any]:
        if self.user is None:
            return super()._popen_options()
        user, group = self.user.pw_uid, self.user.pw_gid
        return {"cwd": "/", "user": user, "group": group, "extra_groups": [], "pass_fds": [self._descriptor]}

    def _environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return {**inherited, "LC_ALL": "C.UTF-8"}

    def _answers(self) -> bool:
        return answer_to(self.port, struct.pack("!i", len(HELLO) + 4) + HELLO, 1) == b"R"


def ordinary_user() -> pwd.struct_passwd | None:
    """Whom it runs as where we are root; otherwise it runs as we do."""
    if os.geteuid() != 0:
        return None
    names = {user.pw_name: user for user in pwd.getpwall()}
    return next(names[name] for name in USERS if name in names)


def children_of(pid: int) -> list[int]:
    """The processes that this one has forked."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def wait_for_end(pids: Sequence[int]) -> None:
    """Until each has ended: the next start of the server finds their memory in use otherwise."""
    deadline = time.monotonic() + BOOT_SECONDS
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process is there, and not only waits to be collected."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def free_shared_memory(folder: Path) -> None:
    """Give back the segment that a killed server in this folder has left in the kernel: its lock file names it."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        segment = int((folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1])
        LIBC.shmctl(segment, REMOVE_SHARED_MEMORY, None)
