"""The command line without servers: what a newcomer mistypes, and what each verb says."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from importlib.metadata import EntryPoint
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from choros import cli
from choros.cli.options import run_until_done
from choros.cli.words import answer, command, message_of
from choros.errors import UsageError
from choros.messages import Failure, Message
from choros.runtime.client.client import Client
from choros.runtime.client.outcome import Outcome
from choros.runtime.host.vitals import Report
from choros.transport.port import Health
from tests.captured import capture_logs
from tests.patience import PATIENCE

TRAVEL = """
from choros import App, Command, Done, Message, Pivot, Saga, Service

class Trip(Message, name="travel.trip"):
    who: str
    nights: int = 1

class Book(Command[Done]):
    who: str

hotel = Service("hotel")

@hotel.handles(Book)
async def book(command: Book) -> Done:
    return Done()

def book_it(trip: Trip) -> Book:
    return Book(who=trip.who)

app = App("travel", sagas=[Saga("trip", start=Trip, key=lambda trip: trip.who, steps=(Pivot(book_it, to="hotel"),))],
          services=[hotel])
"""
TRIP = '{"who": "Ada"}'


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str


Choros = Callable[..., Said]


@pytest.fixture
def choros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Choros:
    """Types a command in a folder with `travel.py`, in this process."""
    (tmp_path / "travel.py").write_text(TRAVEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "travel", raising=False)
    monkeypatch.setattr(cli.options, "configure_logging", lambda *_, **__: None)
    monkeypatch.setattr(cli.application, "configure_logging", lambda *_, **__: None)
    for name in ("CHOROS_BROKER", "CHOROS_STORE", "CHOROS_NAMESPACE", "AMQP_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)

    def type_(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["choros", *arguments])
        code: object = 0
        try:
            with capture_logs():
                cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.modules.pop("travel", None)
        said = capsys.readouterr()
        return Said(int(str(code)), said.out, said.err)

    return type_


STORE = ("--store", "sqlite:///sagas.db")
SERVERS = ("--broker", "memory://", *STORE)


def started(choros: Choros) -> str:
    said = choros("saga", "start", "travel", "trip", "-i", TRIP, *SERVERS)
    assert (said.code, said.err) == (0, "")
    return said.out.strip()


# --- loading ----------------------------------------------------------------------------------------------------------


def test_a_module_that_fails_says_where(choros: Choros, tmp_path: Path) -> None:
    (tmp_path / "broken_where.py").write_text("\n\ndef f():\n    return 1 / 0\n\nf()\n")
    said = choros("check", "broken_where")
    assert said.code == 2
    assert f"ZeroDivisionError: division by zero ({tmp_path}/broken_where.py:4)." in said.err


def test_a_syntax_error_says_itself_where(choros: Choros, tmp_path: Path) -> None:
    (tmp_path / "broken_syntax.py").write_text("x = 1\ny = = 2\n")
    said = choros("check", "broken_syntax")
    assert "SyntaxError: invalid syntax (broken_syntax.py, line 2). Try: " in said.err


@pytest.mark.parametrize(
    ("role", "complaint"),
    [
        ("conductor", "There is no role 'conductor'."),
        ("service:hotell", "There is no service 'hotell' in this application."),
    ],
)
def test_a_role_that_is_not_there_waits_for_no_server(choros: Choros, role: str, complaint: str) -> None:
    said = choros("run", "travel", "--role", role, "--broker", "amqp://127.0.0.1:1/")
    assert said.code == 2
    assert complaint in said.err


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (":app", "':app' names no module. Try: package.module"),
        ("", "'' names no module"),
        (".travel", "'.travel' names no module"),
        ("travel.py", "Try: travel\n"),
        ("./travel.py", "./travel.py is a path; a module is wanted. Try: travel\n"),
        ("./travel.py:app", "Try: travel:app\n"),
        ("shop/travel", "Try: shop.travel\n"),
        ("../else/travel.py", "Try: travel\n"),
        (".py", "is a path"),
    ],
)
def test_a_reference_that_is_no_module(choros: Choros, reference: str, words: str) -> None:
    said = choros("check", reference)
    assert said.code == 2
    assert words in said.err


def test_an_application_with_nothing_to_run(choros: Choros, tmp_path: Path) -> None:
    (tmp_path / "emptyapp.py").write_text("from choros import App, Service\napp = App('x', services=[Service('y')])\n")
    said = choros("run", "emptyapp")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("✖ emptyapp has nothing to run: ")


# --- what was typed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", ["nan", "-3", "0", "inf", "1e300", "soon", "0s"])
def test_a_timeout_is_a_time(choros: Choros, timeout: str) -> None:
    said = choros("saga", "run", "travel", "trip", "-i", TRIP, *SERVERS, "--timeout", timeout)
    assert said.code == 2
    assert "is no time to wait. Try: 30, 500ms or 1m30s" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ("start", "travel", "trip", "-i", TRIP),
        ("run", "travel", "trip", "-i", TRIP),
        ("cancel", "travel", "1"),
        ("retry", "travel", "1", "--step", "book_it"),
        ("skip", "travel", "1", "--step", "book_it", "-i", "{}"),
        ("pause", "travel", "1"),
        ("resume", "travel", "1"),
        ("list", "travel"),
        ("show", "travel", "1"),
    ],
    ids=lambda words: str(words[0]),
)
def test_a_store_in_memory_is_no_use_to_a_command(choros: Choros, words: tuple[str, ...]) -> None:
    said = choros("saga", *words, "--store", "memory://")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("✖ A store in memory ends with this command. Try: --store sqlite:///file, redis://")


@pytest.mark.parametrize("words", [("list", "travel"), ("show", "travel", "1")], ids=["list", "show"])
def test_looking_into_a_store_does_not_create_it(choros: Choros, tmp_path: Path, words: tuple[str, ...]) -> None:
    said = choros("saga", *words, "--store", "sqlite:///new/sagas.db")
    assert (said.code, said.out) == (2, "")
    assert "There is no store 'new/sagas.db'. Try: " in said.err
    assert not (tmp_path / "new").exists()


class Plan(Message, name="test.plan"):
    """A start message of several types."""

    who: str
    stops: tuple[Decimal | None, ...] | None = None
    tags: list[str]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("missing.json", "-i: that is no JSON; give the message itself, or - for standard input."),
        ("{}", "The body is no test.plan.v1: who is missing, tags is missing."),
        ("-", "The message is no UTF-8 text."),
    ],
)
def test_a_message_that_is_none(given: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
    with pytest.raises(UsageError) as error:
        message_of(Plan, given)
    fields = "who: str, stops: tuple[Decimal | None, ...] | None (optional), tags: list[str]"
    assert str(error.value) == f"{why} Try: a JSON object with the fields of Plan: {fields}."


def test_the_fields_of_a_start_message(choros: Choros) -> None:
    """Told before a server is asked."""
    said = choros("saga", "start", "travel", "trip", "-i", "trip.json", "--broker", "amqp://127.0.0.1:1/", *STORE)
    assert said.code == 2
    assert "that is no JSON" in said.err
    assert "Trip: who: str, nights: int (optional)." in said.err


# --- the verbs --------------------------------------------------------------------------------------------------------


def test_the_verbs_answer_with_sentences(choros: Choros) -> None:
    saga_id = started(choros)
    for verb, more, code, words in (
        ("pause", (), 0, "paused: nothing more is sent"),
        ("pause", (), 1, "too_late: it is paused already"),
        ("resume", (), 0, "resumed: it goes on with book_it"),
        ("resume", (), 1, "too_late: it is not paused"),
        ("retry", ("--step", "book_it"), 1, "too_late: it is not parked"),
        ("skip", ("--step", "book_it", "-i", "{}"), 1, "too_late: it is not parked"),
        ("cancel", (), 0, "wanted: the pivot is in flight; it is undone only if the pivot is refused"),
    ):
        said = choros("saga", verb, "travel", saga_id, *more, *SERVERS)
        assert (said.code, said.err) == (code, ""), verb
        assert said.out.startswith(words)


@pytest.mark.slow
def test_an_act_says_who_and_why(choros: Choros, monkeypatch: pytest.MonkeyPatch) -> None:
    saga_id = started(choros)

    def acted(*words: str) -> str:
        assert choros("saga", *words, *SERVERS).code == 0
        lines = choros("saga", "show", "travel", saga_id, *STORE).out.splitlines()
        return list(takewhile(lambda line: not line.startswith("waits"), lines))[-1]

    assert acted("pause", "travel", "Ada", "--by", "bob", "--reason", "look first").endswith(
        "paused (pause by bob: look first)"
    )
    monkeypatch.setenv("CHOROS_BY", "eve")
    assert acted("resume", "travel", "Ada").endswith("resumed (resume by eve)")
    monkeypatch.delenv("CHOROS_BY")
    monkeypatch.setenv("LOGNAME", "ada")
    assert acted("pause", "travel", "Ada").endswith(f"paused (pause by ada@{socket.gethostname()})")
    rows = json.loads(choros("saga", "events", "travel", "Ada", *STORE, "-o", "json").out)
    assert [(row["kind"], row.get("by")) for row in rows[2:4]] == [("paused", "bob"), ("resumed", "eve")]
    assert "\tpaused\tbook_it\t\t\t\tpause\tbob\tlook first\n" in choros("saga", "events", "travel", "Ada", *STORE).out


def test_a_typo_in_a_step_says_what_was_meant(choros: Choros) -> None:
    saga_id = started(choros)
    shown = ("saga", "show", "travel", saga_id, *STORE, "-o", "json")
    before = choros(*shown)
    for verb, more in (("retry", ()), ("skip", ("-i", "{}"))):
        said = choros("saga", verb, "travel", saga_id, "--step", "book", *more, *SERVERS)
        assert (said.code, said.err) == (2, "✖ saga 'trip' has no step 'book'. Did you mean 'book_it'?\n")
    said = choros("saga", "retry", "travel", saga_id, *SERVERS)
    assert (said.code, f"Saga {saga_id} is not parked: it is running." in said.err) == (2, True)
    assert choros(*shown) == before


def test_a_step_is_not_skipped_without_a_reply(choros: Choros) -> None:
    """Only an undo goes on without one."""
    said = choros("saga", "skip", "travel", started(choros), "--step", "book_it", *SERVERS)
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "✖ book_it of saga 'trip' goes on with a reply, and -i gives none."
        " Try: a JSON object with the fields of Done: none.\n"
    )


def test_a_word_that_is_not_known_stays_a_word() -> None:
    assert answer("cancel", "compensating") == "compensating: it is being undone"
    assert answer("retry", "unparked") == "unparked: it goes on"
    assert answer("retry", "unparked", "book_it") == "unparked: it goes on with book_it"
    assert answer("cancel", "something") == "something"


def test_a_hint_can_be_pasted_and_tells_no_password(choros: Choros) -> None:
    started(choros)
    said = choros("saga", "show", "travel", "nothing", *STORE)
    assert said.code == 1
    assert said.err.endswith("Try: choros saga list travel --store sqlite:///sagas.db\n")
    assert choros("saga", "list", "travel", *STORE).code == 0
    said = choros("saga", "cancel", "travel", "nothing", *SERVERS)
    assert said.err.endswith("Try: choros saga list travel --store sqlite:///sagas.db\n")
    assert command("list", "travel", "redis://:opensesame@host/0") == "choros saga list travel --store ..."


def test_a_wait_that_is_over_says_how_to_look(choros: Choros) -> None:
    saga_id = started(choros)
    said = choros("saga", "run", "travel", "trip", "-i", TRIP, *SERVERS, "--timeout", "50ms")
    assert said.code == 1
    assert said.err.endswith(f"Try: choros saga show travel {saga_id} --store sqlite:///sagas.db\n")


# --- list and show ----------------------------------------------------------------------------------------------------


def test_the_list_in_its_formats(choros: Choros) -> None:
    saga_id = started(choros)
    listed = ("saga", "list", "travel", *STORE)
    (row,) = json.loads(choros(*listed, "-o", "json").out)
    assert (row["saga_id"], row["saga"], row["key"]) == (saga_id, "trip", "Ada")
    assert json.loads(choros(*listed, "-o", "jsonl").out) == row
    assert choros(*listed).out == f"{saga_id}\tAda\ttrip\t1\trunning\tbook_it\t\t\t{row['started']}\n"
    shown = choros("saga", "show", "travel", saga_id, *STORE, "-o", "json")
    told = json.loads(shown.out)
    assert row.items() <= told.items() and told["history"], "all of the row, and more"
    for verb in (listed, ("saga", "show", "travel", saga_id, *STORE)):
        said = choros(*verb, "-o", "yaml")
        assert (said.code, said.err) == (2, "✖ There is no output format 'yaml'. Try: one of: table, json, jsonl.\n")


def test_an_empty_list_says_so_where_it_is_not_read(choros: Choros) -> None:
    started(choros)
    listed = ("saga", "list", "travel", *STORE, "--status", "completed")
    assert choros(*listed) == Said(0, "", "no saga instances\n")
    assert choros(*listed, "-o", "jsonl") == Said(0, "", "no saga instances\n")
    assert json.loads(choros(*listed, "-o", "json").out) == []


def test_what_a_list_cannot_be_asked(choros: Choros) -> None:
    started(choros)
    said = choros("saga", "list", "travel", *STORE, "--saga", "trips")
    assert (said.code, said.err) == (2, "✖ There is no saga 'trips' in this application. Did you mean 'trip'?\n")
    assert choros("saga", "list", "travel", *STORE, "--limit", "0").code == 2
    assert "no status 'done'" in choros("saga", "list", "travel", *STORE, "--status", "done").err
    assert "--older-than 'soon' is no time" in choros("saga", "list", "travel", *STORE, "--older-than", "soon").err


@pytest.mark.slow
def test_a_list_takes_filters_and_says_what_it_leaves_out(choros: Choros) -> None:
    for who in ("Ada", "Bob", "Eve"):
        assert choros("saga", "start", "travel", "trip", "-i", f'{{"who": "{who}"}}', *SERVERS).code == 0
    assert choros("saga", "pause", "travel", "Bob", *SERVERS).code == 0

    def keys(*options: str) -> list[str]:
        said = choros("saga", "list", "travel", *STORE, "-o", "jsonl", *options)
        return [json.loads(line)["key"] for line in said.out.splitlines()]

    assert keys("--paused") == ["Bob"]
    assert keys("--step", "book_it", "--version", "1", "--newer-than", "1h") == ["Eve", "Bob", "Ada"]
    assert keys("--older-than", "1h") == keys("--version", "2") == keys("--reason", "timeout") == []
    said = choros("saga", "list", "travel", *STORE, "--limit", "2")
    assert (len(said.out.splitlines()), said.err) == (2, "! there are more than these 2; --limit 20 shows more\n")


@pytest.mark.slow
def test_a_saga_goes_by_its_key_and_the_beginning_of_its_id(choros: Choros) -> None:
    saga_id = started(choros)
    for typed in (saga_id, saga_id[:8], "Ada"):
        assert saga_id in choros("saga", "show", "travel", typed, *STORE).out
    assert choros("saga", "pause", "travel", "Ada", *SERVERS).out.startswith("paused")
    assert choros("saga", "resume", "travel", saga_id[:8], *SERVERS).out.startswith("resumed")
    said = choros("saga", "show", "travel", "Bob", *STORE)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("✖ There is no saga instance with the id or start key 'Bob'. Try: choros saga list")


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_while_a_saga_is_awaited(choros: Choros, monkeypatch: pytest.MonkeyPatch) -> None:
    """The saga goes on, and the person is told which it is."""

    async def wait(self: Client, saga_id: str, **_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(10)

    monkeypatch.setattr(Client, "wait", wait)
    said = choros("saga", "run", "travel", "trip", "-i", TRIP, *SERVERS)
    assert (said.code, said.out) == (130, "")
    (row,) = json.loads(choros("saga", "list", "travel", *STORE, "-o", "json").out)
    show = f"choros saga show travel {row['saga_id']} --store sqlite:///sagas.db"
    assert said.err == f"Stopped waiting; saga {row['saga_id']} goes on. Try: {show}\n"


def test_ctrl_c_before_the_id_is_known(choros: Choros, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(self: Client, *_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(10)

    monkeypatch.setattr(Client, "start", start)
    said = choros("saga", "run", "travel", "trip", "-i", TRIP, *SERVERS)
    assert said.code == 130
    assert said.err.endswith("choros saga list travel --store sqlite:///sagas.db\n")


def test_ctrl_c_while_a_module_is_imported(tmp_path: Path) -> None:
    """No traceback: nothing has gone wrong."""
    (tmp_path / "slow.py").write_text("import pathlib, time\npathlib.Path('here').touch()\ntime.sleep(30)\n")
    words = [sys.executable, "-m", "choros", "check", "slow"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        give_up = time.monotonic() + PATIENCE
        while not (tmp_path / "here").exists():
            assert time.monotonic() < give_up
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complaints) == (130, "")


# --- the demo ---------------------------------------------------------------------------------------------------------


def test_a_demo_that_is_not_installed(choros: Choros, monkeypatch: pytest.MonkeyPatch) -> None:
    hint = "Try: pip install 'choros[demo]', or '.[demo]' in a checkout.\n"
    monkeypatch.setattr(cli.application, "entry_points", lambda **_: [])
    said = choros("demo")
    assert (said.code, said.err) == (2, f"✖ The reference services are not installed. {hint}")
    absent = EntryPoint("shop", "no_such_module_at_all:run", "choros.demos")
    monkeypatch.setattr(cli.application, "entry_points", lambda **_: [absent])
    assert choros("demo").err == f"✖ The demo needs 'no_such_module_at_all'. {hint}"


def test_a_traceback_ends_with_what_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with how uvloop was looked for."""
    monkeypatch.setitem(sys.modules, "uvloop", None)

    async def fails() -> None:
        raise LookupError

    with pytest.raises(LookupError) as raised:
        run_until_done(fails())
    assert raised.value.__context__ is None


# --- answers for programs ---------------------------------------------------------------------------------------------


def test_the_answers_as_json(choros: Choros, monkeypatch: pytest.MonkeyPatch) -> None:
    saga_id = started(choros)

    async def wait(self: Client, saga_id: str, **_: Any) -> Outcome:
        return Outcome(saga_id, "compensated", Failure(code="no_room", kind="refused", step="book_it"))

    monkeypatch.setattr(Client, "wait", wait)
    said = choros("saga", "run", "travel", "trip", "-i", TRIP, *SERVERS, "-o", "json")
    told = json.loads(said.out)
    assert (said.code, told["saga_id"], told["status"]) == (3, saga_id, "compensated")
    assert told["failure"]["code"] == "no_room"
    checked = json.loads(choros("check", "travel", "-o", "json").out)
    assert (checked["application"], checked["services"][0]["commands"]) == ("travel", ["book.v1"])
    rows = json.loads(choros("schema", "show", "travel", *STORE, "-o", "json").out)
    assert [row["what"] for row in rows] == ["saga store"] and rows[0]["schema_version"] > 0


def test_acts_as_json(choros: Choros) -> None:
    saga_id = started(choros)
    for verb, answer_, code in (("pause", "paused", 0), ("pause", "too_late", 1)):
        said = choros("saga", verb, "travel", "Ada", *SERVERS, "-o", "json")
        assert (said.code, json.loads(said.out)) == (code, {"saga_id": saga_id, "act": verb, "answer": answer_})
    told = json.loads(choros("saga", "resume", "travel", "Ada", *SERVERS, "-o", "json").out)
    assert told == {"saga_id": saga_id, "act": "resume", "answer": "resumed", "step": "book_it"}


def test_health_as_json(choros: Choros, tmp_path: Path) -> None:
    away = Health("away", 5.0, "refused")
    report = Report("order", 1, 10.0, 5.0, away, Health("connected", 5.0), 0.0, None)
    (tmp_path / "health.json").write_text(json.dumps(asdict(report)))
    said = choros("health", "health.json", "-o", "json")
    told = json.loads(said.out)
    assert (said.code, told["well"], told["broker"]["state"]) == (1, False, "away")
    assert any("The broker is away" in sentence for sentence in told["complaints"])


def test_a_saga_is_started_with_headers_which_are_shown(choros: Choros) -> None:
    headers = ("--header", "tenant=acme", "--header", "asked-by=Ada")
    saga_id = choros("saga", "start", "travel", "trip", "-i", TRIP, *SERVERS, *headers).out.strip()
    assert "headers asked-by=Ada, tenant=acme" in choros("saga", "show", "travel", saga_id, *STORE).out
    for header, why in (
        ("tenant", "is not NAME=VALUE"),
        ("Tenant=acme", "'Tenant' is no name"),
        ("a=", "no such text"),
    ):
        for verb in ("start", "run"):
            said = choros("saga", verb, "travel", "trip", "-i", TRIP, *SERVERS, "--header", header)
            assert (said.code, why in said.err, said.err.count("\n") <= 2) == (2, True, True), said.err
