"""The end of the load: what a killed one asked for is asked for again, and every saga is spoken to."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from choros import StoreUnreachable
from tests.chaos.load import Load, StartLog, read_starts
from tests.chaos.scripts import EXPEDITION, script_of
from tests.chaos.talk import ALL

SEED = 1
AN_EXPEDITION = next(number for number in range(1, 1000) if script_of(SEED, number).startswith(EXPEDITION))


class Client:
    """Answers the second time it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def start(self, saga: Any, start: Any) -> str:
        self.asked += 1
        if self.asked == 1:
            raise StoreUnreachable("The store is away.", "wait")
        return f"saga-{start.number}"


class Talk:
    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []
        self.again: list[tuple[int, str]] = []

    async def all(self, number: int, saga_id: str, script: str) -> None:
        self.told.append((number, saga_id))

    async def permit_again(self, number: int, saga_id: str, script: str) -> None:
        self.again.append((number, saga_id))


async def finished(path: Path) -> tuple[Client, Talk]:
    """Who was asked and who has spoken, once a load has finished what this log says."""
    client: Any = Client()
    talk: Any = Talk()
    store: Any = None
    with closing(StartLog(path)) as log:
        await Load(client, store, talk, log, SEED, rate=0, most=0).finish()
    return client, talk


async def test_what_a_killed_load_was_not_answered_is_asked_for_again_at_the_end_and_spoken_to(tmp_path: Path) -> None:
    path = tmp_path / "starts.log"
    path.write_text(f"ask {AN_EXPEDITION} 1.0\n")
    _, talk = await finished(path)
    assert talk.told == [(AN_EXPEDITION, f"saga-{AN_EXPEDITION}")]
    assert read_starts(path) == ({AN_EXPEDITION}, {AN_EXPEDITION: f"saga-{AN_EXPEDITION}"})


async def test_what_was_begun_and_not_spoken_to_is_spoken_to_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "starts.log"
    path.write_text(f"ask {AN_EXPEDITION} 1.0\ntook {AN_EXPEDITION} saga-a 1.1\nsaid {AN_EXPEDITION} permit kept 1.2\n")
    client, talk = await finished(path)
    assert (talk.told, client.asked) == ([(AN_EXPEDITION, "saga-a")], 0)


async def test_what_was_finished_is_finished_again_at_the_end(tmp_path: Path) -> None:
    """Its answer may have been lost with the broker, and the saga would wait for its bound."""
    path = tmp_path / "starts.log"
    words = "".join(f"said {AN_EXPEDITION} {what} kept 1.2\n" for what in ALL)
    path.write_text(f"ask {AN_EXPEDITION} 1.0\ntook {AN_EXPEDITION} saga-a 1.1\n{words}")
    client, talk = await finished(path)
    assert (talk.told, talk.again, client.asked) == ([], [(AN_EXPEDITION, "saga-a")], 0)
