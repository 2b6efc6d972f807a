"""`choros lock`: what is locked, by which saga, and who waits for it."""

from typing import Annotated, Any

import typer

from choros.cli.options import AppName, Output, StoreUrl, log_apart, run_until_done
from choros.cli.output import Column, age, field, tell_rows, tell_value
from choros.cli.verbs import Verbs
from choros.cli.words import existing
from choros.desk.held_locks import HeldLock, Party, held_locks
from choros.roles.addresses import DEFAULT_STORE, Addresses, opened_locks, opened_store
from choros.roles.loading import load_app
from choros.runtime.orchestrator.lock_rows import LockRows
from choros.wire.attributes import rfc3339

app = Verbs(help="What is locked, by which saga, and who waits for it.")
LockKey = Annotated[str, typer.Argument(metavar="LOCK:KEY", help="the lock's name and the business key: customer:7")]


def _columns(now: float) -> list[Column]:
    return [
        Column("LOCK", field("lock"), least=8),
        Column("KEY", field("key"), least=6),
        Column("SAGA", field("saga"), least=5),
        Column("STATE", field("state"), least=8),
        Column("SINCE", field("since"), shown=age("since", now)),
        Column("WAITING", lambda row: str(len(row["waiting"]))),
    ]


def _parties(now: float) -> list[Column]:
    return [
        Column("", lambda row: "has it" if row["has"] else "waits", least=6),
        Column("ID", field("saga_id"), least=8, id=True),
        Column("KEY", field("key"), least=6),
        Column("STATE", field("state"), least=8),
        Column("SINCE", field("since"), shown=age("since", now)),
        Column("UNTIL", lambda row: row["until"][:16]),
    ]


@app.command("list", examples=["lock list shop", "lock list shop -o json"])
def lock_list(application: AppName, store: StoreUrl = DEFAULT_STORE, output: Output = "table") -> None:
    """List what is locked, by which saga, and how many wait for it."""
    held, now = _looked(application, store)
    tell_rows([_row(one) for one in held], _columns(now), output, none="nothing is locked")


@app.command("show", examples=["lock show shop customer:7"])
def lock_show(application: AppName, key: LockKey, store: StoreUrl = DEFAULT_STORE, output: Output = "table") -> None:
    """Show who has a lock, and who waits for it in what order."""
    [held], now = _looked(application, store, key)
    if output != "table":
        tell_value(_row(held), output)
        return
    rows = [_party(held.holder) | {"has": True}, *(_party(one) | {"has": False} for one in held.waiting)]
    tell_rows(rows, _parties(now), "table", none="nobody has it")


def _looked(application: str, store: str, key: str = "") -> tuple[list[HeldLock], float]:
    existing(store)
    log_apart()

    async def look() -> tuple[list[HeldLock], float]:
        loaded, addresses = load_app(application), Addresses(store=store)
        async with opened_store(addresses, loaded) as sagas, opened_locks(addresses, loaded) as locks:
            return await held_locks(LockRows(locks, sagas), sagas, key=key), sagas.now()

    return run_until_done(look())


def _row(held: HeldLock) -> dict[str, Any]:
    """As JSON."""
    return {"lock": held.key, **_party(held.holder), "waiting": [_party(one) for one in held.waiting]}


def _party(one: Party) -> dict[str, Any]:
    return {
        "saga_id": one.saga_id,
        "saga": one.record.saga if one.record else "",
        "key": one.record.key if one.record else "",
        "state": one.state,
        "since": rfc3339(one.since),
        "until": "" if one.until is None else rfc3339(one.until),
    }
