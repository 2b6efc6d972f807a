"""`choros starts`: what could not be carried out of what was asked for beside somebody's rows."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from choros import App, start_in
from choros.roles.addresses import database_at
from choros.roles.loading import load_app
from choros.runtime.client.start_outbox import StartRelay, place_of
from tests.cli.test_cli import Choros, choros
from tests.cli.test_unfinished import POST

__all__ = ["choros"]

DATABASE = ("--database", "sqlite+aiosqlite:///front.db")


async def _refuses(saga: object, message: object, *, key: str, headers: object) -> str:
    raise ValueError


async def _set_aside(app: App) -> str:
    rows = database_at(DATABASE[1], place_of(app))
    await rows.open()
    engine, saga = create_async_engine(DATABASE[1]), app.saga("parcel")
    async with AsyncSession(engine) as session, session.begin():
        saga_id = await start_in(session, app, saga, saga.start(parcel="p1"))
    await engine.dispose()
    assert await StartRelay(app, _refuses, rows, remember=60.0).round() == 1
    await rows.close()
    return saga_id


@pytest.fixture
def aside(choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "post.py").write_text(POST)
    monkeypatch.delitem(sys.modules, "post", raising=False)
    assert choros("starts", "list", "post:app", *DATABASE).code == 2  # there is no such file
    return asyncio.run(_set_aside(load_app("post:app")))


def test_they_are_listed_and_tried_again(aside: str, choros: Choros) -> None:
    assert choros("starts", "list", "post:app", *DATABASE).out.split("\t")[:3] == [aside, "parcel", "p1"]
    (row,) = json.loads(choros("starts", "list", "post:app", *DATABASE, "-o", "json").out)
    assert (row["saga_id"], row["version"], row["why"]) == (aside, 1, "ValueError")

    said = choros("starts", "retry", "post:app", aside, *DATABASE)
    assert (said.code, said.out) == (0, f"{aside}: the role `starts` tries it again\n")
    assert choros("starts", "list", "post:app", *DATABASE).err == "no start is set aside\n"
    said = choros("starts", "retry", "post:app", aside, *DATABASE)
    assert said.code == 2
    assert "is set aside here" in said.err
