"""The container's health check sees connections, not processes."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "healthcheck.py"


def healthcheck(*arguments: str | int) -> int:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], check=False).returncode


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, as in the container")
def test_connected_only_while_the_connection_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert healthcheck("connected", port) == 1
        with socket.create_connection(("127.0.0.1", port)):
            assert healthcheck("connected", port) == 0


def test_listening_only_while_someone_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert healthcheck("listening", port) == 0
    assert healthcheck("listening", port) == 1
