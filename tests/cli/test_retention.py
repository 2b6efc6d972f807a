"""What a person sees of retention: what was deleted is said, and can be written out before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from choros.sources import fresh_id
from choros.store.sagas import Store, Transition
from choros.store.sqlite.sagas import SqliteStore
from choros.wire.envelope import Envelope
from tests.cli.test_cli import SERVERS, STORE, TRIP, Choros, choros, started

__all__ = ["choros"]  # the fixture


def in_store(act: Any) -> Any:
    """Do it in the store that the commands use."""

    async def doing() -> Any:
        store = SqliteStore(Path("sagas.db"), "travel.travel")
        await store.open()
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(doing())


async def end(store: Store, saga_id: str, at: float) -> None:
    """Let the saga be completed at that moment, with everything sent."""
    loaded = (await store.load([saga_id]))[saga_id]
    record = replace(
        loaded.record, status="completed", version=loaded.record.version + 1, transition="end", wake_at=None,
        updated_at=at,
    )  # fmt: skip
    row = json.dumps([{"kind": "completed"}, {"kind": "fact", "envelope": a_fact(saga_id).dumps()}])
    await store.commit([Transition(record, loaded.record.transition, sent=tuple(loaded.unsent), history=row)])


def a_fact(saga_id: str) -> Envelope:
    return Envelope(
        id=fresh_id(), kind="fact", type="booked.v1", source="/travel/travel", time=1_700_000_000.0, data="{}",
        subject="Ada", correlation_id=saga_id, causation_id="c", saga="trip", saga_version=1, stream=saga_id, seq=1,
    )  # fmt: skip


def deleted(choros: Choros, at: float = 1_700_000_000.0) -> str:
    saga_id = started(choros)

    async def delete(store: Store) -> None:
        await end(store, saga_id, at)
        assert (await store.forget(at + 1)).records == 1

    in_store(delete)
    return saga_id


BEYOND = "! sagas that ended until 2023-11-14T22:13:20.000000Z may be deleted"


def test_a_list_says_until_when_sagas_may_be_missing(choros: Choros) -> None:
    deleted(choros)
    said = choros("saga", "list", "travel", *STORE)
    assert (said.code, "no saga instances" in said.err, BEYOND in said.err) == (0, True, True)


def test_a_deleted_saga_is_shown_as_what_is_left_of_it(choros: Choros) -> None:
    saga_id = deleted(choros)
    said = choros("saga", "show", "travel", saga_id, *STORE)
    assert said.out == f"{saga_id}  completed at 2023-11-14T22:13:20.000000Z  (saga trip); deleted since\n"
    told = json.loads(choros("saga", "show", "travel", saga_id, "-o", "json", *STORE).out)
    assert (told["status"], told["deleted"], told["history"]) == ("completed", True, [])
    said = choros("saga", "show", "travel", "nobody", *STORE)
    assert (said.code, "sagas that ended until 2023" in said.err) == (1, True)


def test_a_deleted_saga_starts_as_the_same_and_is_not_run_again(choros: Choros) -> None:
    saga_id = deleted(choros)
    assert choros("saga", "start", "travel", "trip", "-i", TRIP, *SERVERS).out.strip() == saga_id
    said = choros("saga", "start", "travel", "trip", "-i", '{"who": "Ada", "nights": 9}', *SERVERS)
    assert (said.code, "another body" in said.err) == (1, True)
    said = choros("saga", "rerun", "travel", saga_id, "--from", "book_it", *SERVERS)
    assert (said.code, "since then it was deleted" in said.err) == (1, True)


def test_facts_that_were_deleted_are_not_passed_over_silently(choros: Choros) -> None:
    saga_id = deleted(choros)
    dry = ("facts", "republish", "travel", "--broker", "memory://", "--dry-run", *STORE)
    assert BEYOND in choros(*dry, "--since", "2023-11-01").err
    assert BEYOND not in choros(*dry, "--since", "2023-11-20").err
    said = choros(*dry, "--saga-id", saga_id)
    assert (said.code, "since then it was deleted" in said.err) == (1, True)
    assert BEYOND in choros(*dry, "--saga-id", "nobody").err
    missed = choros("facts", "missed", "travel", "--since", "2023-11-01", *STORE)
    assert BEYOND in missed.err


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_export_is_a_line_of_json_for_each_saga_whole(choros: Choros) -> None:
    others = ({"who": "Bob"}, {"who": "Cleo"})
    ids = [started(choros)]
    ids += [choros("saga", "start", "travel", "trip", "-i", json.dumps(one), *SERVERS).out.strip() for one in others]
    in_store(lambda store: end(store, ids[0], 1_700_000_000.0))
    said = choros("saga", "export", "travel", *STORE)
    exported = {one["saga_id"]: one for one in lines(said.out)}
    assert (said.code, sorted(exported)) == (0, sorted(ids))
    one = exported[ids[0]]
    assert (one["key"], one["status"], one["saga"], one["saga_version"]) == ("Ada", "completed", "trip", 1)
    assert json.loads(one["state"]["start"]) == {"who": "Ada", "nights": 1}
    assert [row["version"] for row in one["history"]] == [1, 2]
    assert one["history"][1]["events"][1]["envelope"]
    assert one["received"]


def test_an_export_takes_the_filters_of_a_list_and_a_time(choros: Choros) -> None:
    first = started(choros)
    second = choros("saga", "start", "travel", "trip", "-i", '{"who": "Bob"}', *SERVERS).out.strip()
    in_store(lambda store: end(store, first, 1_700_000_000.0))

    def ids(*options: str) -> list[str]:
        return [one["saga_id"] for one in lines(choros("saga", "export", "travel", *options, *STORE).out)]

    assert ids("--status", "completed") == [first]
    assert ids("--status", "running") == ids("--since", "1h") == [second]
    assert sorted(ids("--saga", "trip", "--since", "2023-01-01")) == sorted([first, second])
    assert choros("saga", "export", "travel", "--status", "gone", *STORE).code == 2


def test_an_export_holds_a_page_of_sagas_at_once(choros: Choros) -> None:
    """It reads on only when what it has read is written."""
    from choros.desk.export import PAGE, exported
    from choros.testing.conformance.records import creation, stored

    async def reading(store: Store) -> None:
        await stored(store, *(creation(f"s{n:03}", started_at=float(n)) for n in range(3 * PAGE)))
        asked: list[int] = []
        find = store.find

        def counting(**how: Any) -> Coroutine[Any, Any, Any]:
            asked.append(how["limit"])
            return find(**how)

        store.find = counting  # type: ignore[method-assign]
        seen = 0
        async for _ in exported(store):
            seen += 1
            assert len(asked) == (seen - 1) // PAGE + 1
        assert (seen, set(asked)) == (3 * PAGE, {PAGE})

    in_store(reading)
