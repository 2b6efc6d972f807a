"""Network namespaces that vanish by themselves: each lives only as long as one sleeping process, which dies with us."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Sequence

from tests.private_servers import LIBC, BootFailed, die_with_parent

_NETWORK = 0x4000_0000  # CLONE_NEWNET of unshare(2) and setns(2)


class Namespace:
    """A network of its own for some processes."""

    def __init__(self) -> None:
        """Make it; raises BootFailed where that is not allowed."""
        try:
            self._holder = subprocess.Popen(["sleep", "infinity"], preexec_fn=_enter_new)
        except subprocess.SubprocessError:
            raise BootFailed("A network namespace needs root, or: unshare --map-root-user --net.") from None

    @property
    def pid(self) -> int:
        """Of the process that holds it."""
        return self._holder.pid

    def run(self, *command: str) -> None:
        """Run a command in it; raises BootFailed with what the command complains of."""
        run(command, self.enter)

    def enter(self) -> None:
        """For `preexec_fn`: the child is in this namespace, and dies with its parent."""
        die_with_parent()
        with open(f"/proc/{self.pid}/ns/net") as namespace:
            _check(LIBC.setns(namespace.fileno(), _NETWORK))

    def link(self, there: Namespace, here_name: str, there_name: str) -> None:
        """A line between two namespaces; it goes with either of them."""
        self.run("ip", "link", "add", here_name, "type", "veth", "peer", "name", there_name, "netns", str(there.pid))

    def close(self) -> None:
        """Let it go, with all its interfaces."""
        self._holder.kill()
        self._holder.wait()


def run(command: Sequence[str], enter: Callable[[], None] | None = None) -> None:
    """Run a command; raises BootFailed with what it complains of."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=enter)
    if done.returncode:
        raise BootFailed(f"{' '.join(command)}: {done.stderr.strip()}")


def _enter_new() -> None:
    die_with_parent()
    _check(LIBC.unshare(_NETWORK))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), "the kernel refuses")
