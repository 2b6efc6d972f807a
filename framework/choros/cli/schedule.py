"""`choros schedule`: what the clock starts, and what a person does with that, signed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from choros.cli.options import AppName, Output, StoreUrl, log_apart, run_until_done
from choros.cli.output import Column, field, tell_lines, tell_rows, tell_value
from choros.cli.signature import By, whoever
from choros.cli.verbs import Verbs
from choros.cli.words import existing, moment
from choros.roles.addresses import DEFAULT_STORE, Addresses, opened_schedules
from choros.roles.loading import load_app
from choros.runtime.client.schedules import ScheduleActs, Scheduled
from choros.runtime.orchestrator.agenda import Tick
from choros.runtime.orchestrator.history import as_data
from choros.runtime.orchestrator.signature import UNSIGNED, Signature
from choros.sources import now
from choros.wire.attributes import rfc3339

app = Verbs(help="What the clock starts: look at it, pause it, start it now or for times that were before.")
ScheduleName = Annotated[str, typer.Argument(metavar="SCHEDULE", help="the schedule's name")]
ScheduleReason = Annotated[str, typer.Option(metavar="TEXT", help="why; it is kept in the schedule's history")]
BackfillFrom = Annotated[
    str, typer.Option("--from", metavar="TIME", help="the first time: 2026-11-22T00:00:00Z, or 7d ago")
]
BackfillTo = Annotated[str, typer.Option("--to", metavar="TIME", help="the last time")]
ScheduleAct = Callable[[ScheduleActs], Awaitable[dict[str, Any]]]
"""Does it, and says what it came to: `answer` in a word, and more."""
COMING = 5
"""Times that are shown ahead."""
_COLUMNS = [
    Column("NAME", field("schedule"), least=8),
    Column("TIMES", field("times"), least=8),
    Column("SAGA", field("saga"), least=5),
    Column("STATE", field("state"), least=8),
    Column("NEXT", lambda row: (row["coming"] or [""])[0], least=10),
    Column("LAST", lambda row: row["ticks"][-1]["at"] if row["ticks"] else "", least=10),
]
_TICKS = [
    Column("TIME", field("at"), least=10),
    Column("WHY", field("why")),
    Column("STARTED", field("started_at"), least=10),
    Column("SAGA", field("saga_id"), least=8, id=True),
]
_SAID = {
    "paused": "the clock starts nothing more until it is resumed",
    "resumed": "it goes on by the clock",
    "triggered": "an orchestrator starts it within a second or so",
    "backfilled": "an orchestrator starts what of these was not started yet",
    "too_late pause": "it is paused already",
    "too_late resume": "it is not paused",
}


def looked(
    application: str, store: str, look: Callable[[ScheduleActs], Awaitable[Any]], signature: Signature = UNSIGNED
) -> Any:
    """Call `look` with the schedules of this application, and return what it returns. No broker is needed."""
    existing(store)
    log_apart()

    async def call() -> Any:
        loaded = load_app(application)
        async with opened_schedules(Addresses(store=store), loaded) as opened:
            return await look(ScheduleActs(loaded, opened, signature))

    return run_until_done(call())


@app.command("list", examples=["schedule list shop", "schedule list shop -o json"])
def schedule_list(application: AppName, store: StoreUrl = DEFAULT_STORE, output: Output = "table") -> None:
    """List the schedules that are declared, and those that were."""
    found = looked(application, store, lambda acts: acts.list())
    rows = [_row(one) for one in found]
    tell_rows(rows, _COLUMNS, output, none="nothing is started by the clock")


@app.command("show", examples=["schedule show shop nightly"])
def schedule_show(
    application: AppName, name: ScheduleName, store: StoreUrl = DEFAULT_STORE, output: Output = "table"
) -> None:
    """Show the last ticks of a schedule with their sagas, what comes next, and what people did with it."""

    async def look(acts: ScheduleActs) -> dict[str, Any]:
        return _row(await acts.show(name)) | {"history": as_data(await acts.history(name))}

    row = looked(application, store, look)
    if output != "table":
        tell_value(row, output)
        return
    tell_lines([f"{name}: {row['times']}, starts {row['saga'] or 'nothing'}; {row['state']}"])
    if row["passed_over"]:
        tell_lines([f"nothing was started for the times from {row['passed_over'][0]} to {row['passed_over'][1]}"])
    tell_rows(row["ticks"], _TICKS, "table", none="it has started nothing yet")
    tell_lines([f"next: {at}" for at in row["coming"]])
    tell_lines(
        f"{rfc3339(one['at'])[:19]}Z {' '.join(str(event.get(k, '')) for k in ('kind', 'by', 'reason')).strip()}"
        for one in row["history"]
        for event in one["events"]
    )


def _row(one: Scheduled) -> dict[str, Any]:
    """As JSON."""
    agenda, schedule = one.agenda, one.schedule
    return {
        "schedule": one.name,
        "times": schedule.calendar.text if schedule else agenda.declared if agenda else "",
        "saga": schedule.saga.name if schedule else "",
        "state": _state(one),
        "missed": schedule.missed if schedule else "",
        "coming": [at.isoformat() for at in one.coming(COMING, now())],
        "wanted": sum(map(len, (agenda.wanted, agenda.backfills))) if agenda else 0,
        "ticks": [_tick(tick) for tick in agenda.ticks] if agenda else [],
        "passed_over": [rfc3339(at) for at in agenda.passed_over] if agenda and agenda.passed_over else [],
    }


def _state(one: Scheduled) -> str:
    if one.schedule is None:
        return "not declared any more"
    if one.agenda is None:
        return "no orchestrator has begun with it"
    if one.declared_otherwise:
        return f"declared otherwise where it runs: {one.agenda.declared}"
    if one.agenda.trouble:
        return f"stands still: {one.agenda.trouble}"
    return "paused" if one.agenda.paused else "on"


def _tick(tick: Tick) -> dict[str, Any]:
    moments = {"at": rfc3339(tick.at)[:19] + "Z", "started_at": rfc3339(tick.started_at)}
    return moments | {"why": tick.why, "key": tick.key, "saga_id": tick.saga_id}


@dataclass(frozen=True, slots=True)
class WantedOptions:
    """How every act is asked for."""

    by: By = ""
    reason: ScheduleReason = ""
    store: StoreUrl = DEFAULT_STORE
    output: Output = "table"

    def tell(self, application: str, name: str, verb: str, act: ScheduleAct) -> None:
        """Do it, as this person, and say what it came to; exits with 1 if nothing was done."""

        signature = Signature(self.by or whoever(), self.reason)
        done: dict[str, Any] = looked(application, self.store, act, signature)
        word = done["answer"]
        if self.output == "table":
            more = "".join(f" {done[what]}" for what in ("saga_id", "times") if what in done)
            print(f"{word}{more}: {_SAID.get(f'{word} {verb}') or _SAID[word]}")
        else:
            tell_value({"schedule": name, "act": verb} | done, self.output)
        if word == "too_late":
            raise typer.Exit(1)


@app.command("pause", examples=["schedule pause shop nightly --reason 'the bank is closed'"])
def schedule_pause(application: AppName, name: ScheduleName, asked: WantedOptions) -> None:
    """Let the clock start nothing more; what people want is started all the same."""

    async def pause(acts: ScheduleActs) -> dict[str, Any]:
        return {"answer": await acts.pause(name)}

    asked.tell(application, name, "pause", pause)


@app.command("resume", examples=["schedule resume shop nightly"])
def schedule_resume(application: AppName, name: ScheduleName, asked: WantedOptions) -> None:
    """Go on by the clock; what comes of the times in between, the declaration says."""

    async def resume(acts: ScheduleActs) -> dict[str, Any]:
        return {"answer": await acts.resume(name)}

    asked.tell(application, name, "resume", resume)


@app.command("trigger", examples=["schedule trigger shop nightly --reason 'the file came late'"])
def schedule_trigger(
    application: AppName,
    name: ScheduleName,
    *,
    known_as: Annotated[
        str, typer.Option("--id", metavar="TEXT", help="an id of your own: what is started under it is one saga")
    ] = "",
    asked: WantedOptions,
) -> None:
    """Start the saga now, beside the clock; it says under which id."""

    async def trigger(acts: ScheduleActs) -> dict[str, Any]:
        return {"answer": "triggered", "saga_id": await acts.trigger(name, id=known_as)}

    asked.tell(application, name, "trigger", trigger)


@app.command("backfill", examples=["schedule backfill shop nightly --from 7d --to 1d"])
def schedule_backfill(
    application: AppName, name: ScheduleName, since: BackfillFrom, until: BackfillTo, asked: WantedOptions
) -> None:
    """Start the saga for each time in a span that it was not started for yet."""
    first, last = (
        datetime.fromtimestamp(moment(*one), UTC) for one in ((since, now(), "--from"), (until, now(), "--to"))
    )

    async def backfill(acts: ScheduleActs) -> dict[str, Any]:
        return {"answer": "backfilled", "times": await acts.backfill(name, first, last)}

    asked.tell(application, name, "backfill", backfill)
