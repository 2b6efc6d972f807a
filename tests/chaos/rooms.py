"""Small file systems that can be filled up: tmpfs in a mount namespace of our own, so that none outlives us."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.private_servers import LIBC, LINUX

_NEW_NAMESPACE = 0x0002_0000  # CLONE_NEWNS of unshare(2)


class Room:
    """One of them, with a ballast that takes the space away."""

    def __init__(self, path: Path, mebibytes: int) -> None:
        self.path, self.mebibytes = path, mebibytes
        self._ballast = path / "ballast"

    @property
    def free(self) -> int:
        """Bytes."""
        room = os.statvfs(self.path)
        return room.f_bavail * room.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all space but so many bytes away."""
        with self._ballast.open("ab") as ballast, suppress(OSError):  # it may have become full meanwhile
            os.posix_fallocate(ballast.fileno(), 0, max(1, self.free - leave))

    def clear(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)


def enter_own_namespace() -> bool:
    """Whether from here on this process and its children may mount without anybody else seeing it."""
    if not LINUX or os.geteuid() != 0 or LIBC.unshare(_NEW_NAMESPACE) != 0:
        return False
    private = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False)
    return private.returncode == 0


def mount(path: Path, mebibytes: int) -> Room | None:
    """A room of this size here, or None where mounting is not possible."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "choros-chaos", str(path)]
    done = subprocess.run(command, capture_output=True, check=False)
    return Room(path, mebibytes) if done.returncode == 0 else None


def unmount(room: Room) -> None:
    """Take it away with all that is in it."""
    subprocess.run(["umount", "--lazy", str(room.path)], capture_output=True, check=False)
