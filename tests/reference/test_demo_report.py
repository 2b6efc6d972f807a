"""What the demo says before it starts, however much of a file it cannot place."""

from __future__ import annotations

import io
from pathlib import Path

from choros.roles.addresses import Addresses
from reference_services.demo.report import Report
from reference_services.orders import DroppedLine, OrderFile, RejectedOrder


def opening(folder: Path, dropped: int, rejected: int) -> list[str]:
    out = io.StringIO()
    lines = tuple(DroppedLine(number, f"5{number}", "'POST' is not goods") for number in range(dropped))
    orders = tuple(RejectedOrder(f"C{number}", "is a cancellation") for number in range(rejected))
    Report(out).opening(Addresses("memory://"), OrderFile((), lines, orders), False, folder, "hybrid")
    return out.getvalue().splitlines()


def test_what_is_not_placed_is_a_count_and_a_file(tmp_path: Path) -> None:
    told = opening(tmp_path, 1241, 2)
    assert "not placed: 1,241 dropped lines and 2 rejected invoices; each with its reason:" in told
    assert f"  {tmp_path}/not-placed.txt" in told and len(told) < 12
    written = (tmp_path / "not-placed.txt").read_text(encoding="utf-8").splitlines()
    assert len(written) == 1243 and written[-1] == "order C1: is a cancellation"


def test_where_all_is_placed_there_is_no_file(tmp_path: Path) -> None:
    assert not any("not placed" in line for line in opening(tmp_path, 0, 0))
    assert list(tmp_path.iterdir()) == []
