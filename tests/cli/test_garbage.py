"""A process of choros alone searches for cycles less often; one that is somebody else's goes on as it did."""

import gc
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from choros.cli import application
from choros.cli.departure import Leaving
from choros.cli.garbage import search_less


@pytest.fixture
def as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("as_before")
def test_it_is_searched_less() -> None:
    first, *later = gc.get_threshold()

    search_less()

    assert gc.get_threshold()[0] > first
    assert gc.get_threshold()[1:] == tuple(later)
    assert gc.get_freeze_count() > 0
    assert gc.isenabled()


@pytest.mark.parametrize("owned", [False, True])
def test_only_where_the_process_is_ours(owned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def run(coroutine: Coroutine[Any, Any, None]) -> None:
        called.append("run")
        coroutine.close()

    monkeypatch.setattr(Leaving, "owns_process", owned)
    monkeypatch.setattr(application, "search_less", lambda: called.append("less"))
    monkeypatch.setattr(application, "run_until_done", run)

    CliRunner().invoke(application.app, ["run", "reference_services.order"], catch_exceptions=False)

    assert called == ["less"] * owned + ["run"]
