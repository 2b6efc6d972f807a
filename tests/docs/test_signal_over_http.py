"""The handler that the guide shows for a web server: each answer of a signal is a status."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from choros.runtime.client.client import Client
from tests.runtime.test_signals_off_the_wire import LOANS, branched
from tests.saga.loan import AskForLoan, Decided

GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()
Approve = Callable[[Client, str, str, str, str], Awaitable[tuple[int, str]]]


def shown() -> Approve:
    """With the signal that our saga waits for in the place of that of the page."""
    (code,) = (one for one in re.findall(r"^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE) if "STATUS" in one)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/guide.md", "exec"), names)
    names["TripApproved"] = Decided
    approve: Approve = names["approve"]
    return approve


async def test_each_answer_has_its_status_and_a_repeated_request_the_same() -> None:
    approve = shown()
    async with branched() as branch:
        await branch.client.start(LOANS, AskForLoan())
        for _ in range(2):
            assert await approve(branch.client, "l1", Decided().to_json(), "r1", "Ann") == (202, "kept")
        assert await approve(branch.client, "l1", Decided().to_json(), "r2", "Eve") == (409, "too_late")
        assert await approve(branch.client, "l9", Decided().to_json(), "r3", "Ann") == (404, "no such trip")
        status, said = await approve(branch.client, "l1", "{", "r4", "Ann")
        assert (status, "decided.v1" in said) == (400, True)
