"""A parcel that is finished from outside while no process of its service lives: killed, told, begun anew."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from choros import Addresses, App, client_of, unfinished_of
from tests.cli.test_unfinished import POST
from tests.end_to_end.shop import environment, remove
from tests.patience import PATIENCE


@contextmanager
def at_work(folder: Path, addresses: Addresses) -> Iterator[None]:
    """A process of its own in which everything runs; it is killed at the end."""
    where = {"CHOROS_BROKER": addresses.broker, "CHOROS_STORE": addresses.store, "CHOROS_DATABASE": addresses.database}
    env = environment(**where)
    env["PYTHONPATH"] = f"{folder}{os.pathsep}{env['PYTHONPATH']}"
    process = subprocess.Popen([sys.executable, "-m", "choros", "run", "post:app"], cwd=folder, env=env)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_told_while_its_service_is_dead_it_ends_once_that_lives_again(
    kind: str, tmp_path: Path, amqp_url: str, redis_url: str, namespace: str
) -> None:
    (tmp_path / "post.py").write_text(POST.replace('App("post"', f'App("{namespace}"'))
    module: dict[str, object] = {}
    exec(compile(POST.replace('App("post"', f'App("{namespace}"'), "post.py", "exec"), module)
    app = module["app"]
    assert isinstance(app, App)
    kept = redis_url if kind == "redis" else f"sqlite:///{tmp_path}/{{service}}.db"
    addresses = Addresses(amqp_url, redis_url if kind == "redis" else f"sqlite:///{tmp_path}/sagas.db", kept)
    saga = app.saga("parcel")
    try:
        with at_work(tmp_path, addresses):
            async with client_of(app, addresses) as client, unfinished_of(app, "carrier", addresses) as parcels:
                await client.start(saga, saga.start(parcel="p1"))
                async with asyncio.timeout(PATIENCE):
                    while not await parcels.list():
                        await asyncio.sleep(0.1)
        async with unfinished_of(app, "carrier", addresses) as parcels:  # nobody else is there
            assert await parcels.complete("tour of p1", '{"to": "a neighbour"}') == "finished"
            assert await parcels.complete("tour of p1", '{"to": "a neighbour"}') == "repeated"
        with at_work(tmp_path, addresses):
            async with client_of(app, addresses) as client:
                outcome = await client.run(saga, saga.start(parcel="p1"))
                assert outcome.status == "completed"
    finally:
        await remove(amqp_url, app.topology)
