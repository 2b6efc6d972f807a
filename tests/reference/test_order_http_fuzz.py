"""The front door by its own description: whatever that allows is taken, whatever it does not is refused, and every
answer is one that it documents."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from reference_services.order.book import OrderBook
from reference_services.order.http import order_http
from tests.patience import PATIENCE
from tests.reference.test_order_http import MemoryDesk

pytestmark = pytest.mark.nightly
CASES = 20
"""Random ones for each kind of request; those of the limits and of the methods come on top."""


@contextmanager
def served(path: Path, port: int) -> Iterator[str]:
    """The front door on a port of its own."""
    http = order_http(MemoryDesk(), OrderBook(path))
    server = uvicorn.Server(uvicorn.Config(http, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def test_every_answer_is_as_described(tmp_path: Path, free_port: int) -> None:
    with served(tmp_path / "order.db", free_port) as url:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--wait-for-schema", "30"]
        bounds = ["--max-examples", str(CASES), "--generation-deterministic", "--no-color"]
        ended = subprocess.run([*command, *bounds], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 selected" in ended.stdout or "4 / 4" in ended.stdout, ended.stdout
