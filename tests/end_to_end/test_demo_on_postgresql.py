"""The shop with all of it in PostgreSQL: the same outcomes, the same books, whoever is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from choros.errors import UsageError
from reference_services.demo import postgresql
from reference_services.demo.by_commands import ROLES as ROLES_BY_COMMANDS
from reference_services.demo.command import run
from reference_services.demo.processes import ROLES
from tests.end_to_end.order_files import Invoices, write_invoices
from tests.end_to_end.shop import choros, until
from tests.end_to_end.test_demo import balanced, demo, outcomes
from tests.servers import PrivatePostgreSQL

OURS = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shop\\_%' ORDER BY 1"
SOME = 12


@pytest.fixture
def invoices(tmp_path: Path) -> Invoices:
    return write_invoices(tmp_path / "invoices.csv")


async def schemas_at(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [name for (name,) in await connection.fetch(OURS)]
    finally:
        await connection.close()


async def placed(url: str) -> int:
    """How many orders are in the order book; 0 as long as there is none."""
    (book,) = [name for name in await schemas_at(url) if name.endswith("_order")] or [""]
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(f'SELECT count(*) FROM "{book}".placed')) if book else 0
    except asyncpg.UndefinedTableError:
        return 0
    finally:
        await connection.close()


@pytest.mark.slow
@pytest.mark.long
async def test_every_order_ends_as_it_does_elsewhere_with_services_and_postgresql_killed(
    invoices: Invoices, tmp_path: Path, amqp_url: str
) -> None:
    server = PrivatePostgreSQL(tmp_path / "postgresql")
    await asyncio.to_thread(server.start)
    try:
        options = ("--postgres", "--store", server.url, "--broker", amqp_url, "--concurrency", "12")
        kills = [part for role in ("payment", "inventory", "analytics", "order") for part in ("--kill", role)]
        running = asyncio.create_task(asyncio.to_thread(demo, invoices, tmp_path / "run", *options, *kills))

        async def some_are_placed() -> bool:
            return running.done() or await placed(server.url) >= SOME

        await until("orders to be placed", some_are_placed)
        assert not running.done(), running.result().err
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        ended = await running
        balanced(ended)
        assert outcomes(tmp_path / "run") == invoices.outcomes
        assert await schemas_at(server.url) == []
        assert sorted(path.suffix for path in (tmp_path / "run").iterdir() if path.suffix == ".db") == []
    finally:
        await asyncio.to_thread(server.stop)


def test_every_process_that_is_commanded_has_a_place() -> None:
    roles = {*ROLES, *ROLES_BY_COMMANDS} - {"orchestrator-1", "orchestrator-2"}
    assert roles <= set(postgresql.PARTS)


@pytest.mark.slow
@pytest.mark.long
def test_it_starts_a_server_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    with TemporaryDirectory() as place:
        Path(place).chmod(0o711)  # where root is asked to run it, it runs as somebody else
        ended = choros("demo", "--postgres", "--count", "12", "--folder", "run", cwd=tmp_path, within=280, TMPDIR=place)
        assert list(Path(place).iterdir()) == []
    balanced(ended)
    (store,) = [line for line in ended.lines if line.startswith("  store")]
    assert store.startswith("  store     postgresql://…@127.0.0.1:")
    assert "next      the logs are in run" in ended.lines


def test_where_there_is_no_postgresql_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgresql, "KEPT", tmp_path)
    with pytest.raises(UsageError, match=r"PostgreSQL is not on this machine .*not found"):
        asyncio.run(_opened())


async def _opened() -> None:
    async with postgresql.private_postgresql():
        pass


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--store", "redis://127.0.0.1"], "With --postgres, the sagas are there too."),
        (["--variant", "choreographed"], "The choreographed shop keeps its books in SQLite."),
    ],
    ids=["store", "variant"],
)
def test_what_cannot_be_is_one_line(options: Sequence[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(["--postgres", *options])
