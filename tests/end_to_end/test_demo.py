"""Real orders through the whole shop: the same outcomes on every broker and store, also when parts are killed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reference_services.demo.processes import ROLES
from tests.end_to_end.order_files import COUNT, DROPPED, REJECTED, Invoices, write_invoices
from tests.end_to_end.shop import Ended, choros, left_behind
from tests.every_day import every_day

pytestmark = pytest.mark.slow


@pytest.fixture
def invoices(tmp_path: Path) -> Invoices:
    return write_invoices(tmp_path / "invoices.csv")


def demo(invoices: Invoices, folder: Path, *more: str) -> Ended:
    """Run the demo on these invoices; its outcomes are in `folder`.json."""
    paths = ("--orders", str(invoices.path), "--folder", str(folder), "--outcomes", f"{folder}.json")
    return choros("demo", *paths, *more, cwd=invoices.path.parent, within=280)


def outcomes(folder: Path) -> dict[str, str]:
    """As it is written; the keys are sorted, so equal outcomes are equal files."""
    text = Path(f"{folder}.json").read_text()
    found: dict[str, str] = json.loads(text)
    assert text == json.dumps(found, indent=1, sort_keys=True)
    return found


def namespace_of(folder: Path) -> str:
    """The demo makes up a name of its own for what it declares; its processes log it."""
    found = {name for log in folder.glob("*.log") for name in re.findall(r"\bshop-[0-9a-f]{8}\b", log.read_text())}
    (namespace,) = found
    return str(namespace)


def balanced(ended: Ended) -> None:
    assert ended.code == 0, ended.out[-3000:] + ended.err[-3000:]
    assert "leaks     0: the books balance to the penny" in ended.lines
    assert "Traceback" not in ended.out + ended.err
    assert ended.err == ""


@pytest.mark.long
async def test_every_order_ends_the_same_on_servers_and_in_one_process(
    invoices: Invoices, tmp_path: Path, amqp_url: str, redis_url: str
) -> None:
    """Twice on the same servers: a run leaves nothing that the next could stumble over."""
    few = write_invoices(tmp_path / "few.csv", 21)
    for name, placed in (("first", few), ("second", invoices)):
        ended = demo(placed, tmp_path / name, "--broker", amqp_url, "--store", redis_url)
        balanced(ended)
        if placed is invoices:
            counted(ended, tmp_path / name)
        assert outcomes(tmp_path / name) == placed.outcomes
        assert await left_behind(amqp_url, redis_url, namespace_of(tmp_path / name)) == []
    store = f"sqlite:///{tmp_path}/sagas.db"
    ended = demo(invoices, tmp_path / "alone", "--broker", "memory://", "--store", store)
    balanced(ended)
    counted(ended, tmp_path / "alone")
    assert outcomes(tmp_path / "alone") == invoices.outcomes
    (shown,) = [number for number, line in enumerate(ended.lines) if "choros saga list" in line]
    assert ended.lines[shown + 1].split() == ["--store", "sqlite:///sagas.db"]  # seen from here


def counted(ended: Ended, folder: Path) -> None:
    """Whatever was not placed is counted and named."""
    told = ended.lines
    said = f"not placed: {DROPPED} dropped lines and {len(REJECTED)} rejected invoices; each with its reason:"
    assert told[told.index(said) + 1].endswith(f"{folder.name}/not-placed.txt")
    assert f"placing {COUNT} orders" in told
    lines = (folder / "not-placed.txt").read_text().splitlines()
    assert len(lines) == DROPPED + len(REJECTED)
    for order_id, reason in zip(REJECTED, ("is a cancellation", "has no line that can be sold"), strict=True):
        assert f"order {order_id}: {reason}" in lines
    for reason in ("Quantity is 0, not above zero", "UnitPrice is -1.25, not above zero", "'POST' is not goods"):
        assert sum(line.endswith(reason) for line in lines) == 1, reason


ALL_BUT_ONE = (
    ("payment", "inventory", "order"),
    ("shipping", "carrier", "notifications", "analytics"),
    ("orchestrator-1",),
)


def test_every_process_is_killed_in_one_run_or_another() -> None:
    assert {role for roles in ALL_BUT_ONE for role in roles} == ROLES.keys() - {"orchestrator-2"}


@pytest.mark.long
@pytest.mark.parametrize("roles", every_day(ALL_BUT_ONE, ALL_BUT_ONE[1:2], pytest.mark.nightly), ids="+".join)
async def test_killed_processes_change_nothing(
    roles: tuple[str, ...], invoices: Invoices, tmp_path: Path, amqp_url: str, redis_url: str
) -> None:
    """kill -9 with two thirds of the orders to come, a few at a time so that it hits some of them in the middle."""
    kills = [part for role in roles for part in ("--kill", role)]
    ended = demo(invoices, tmp_path / "run", "--broker", amqp_url, "--store", redis_url, "--concurrency", "12", *kills)
    balanced(ended)
    for role in roles:
        here = ended.lines.index(f"  kill -9 {role}; it is started again")
        placed = [int(line.split("/")[0]) for line in ended.lines[:here] if line.endswith(f"/{COUNT}")]
        assert max(placed) < COUNT, f"{role} was killed when all was done"
    assert outcomes(tmp_path / "run") == invoices.outcomes
    assert await left_behind(amqp_url, redis_url, namespace_of(tmp_path / "run")) == []
