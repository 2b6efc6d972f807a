"""Whether the role in this container is at work.

    python healthcheck.py connected 5672    it holds a connection to the broker
    python healthcheck.py listening 8000    it accepts connections

Not "is the process there": a role that has lost its broker must show as unhealthy.
"""

import contextlib
import socket
import sys
from pathlib import Path

ESTABLISHED = "01"  # as the kernel writes it, see proc(5)


def connected(port: int) -> bool:
    """Whether anything in this container has an open connection to that port."""
    return any(peer.endswith(f":{port:04X}") and state == ESTABLISHED for peer, state in connections())


def connections() -> list[tuple[str, str]]:
    """Peer and state of every TCP connection in this container."""
    rows: list[str] = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            rows += Path("/proc/net", table).read_text().splitlines()[1:]
    return [(row.split()[2], row.split()[3]) for row in rows]


def listening(port: int) -> bool:
    """Whether someone answers there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def main(arguments: list[str]) -> int:
    """0 is healthy, 1 is not, as Docker wants it."""
    check = {"connected": connected, "listening": listening}[arguments[0]]
    return 0 if check(int(arguments[1])) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
