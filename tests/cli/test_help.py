"""What a person finds at the command line: help pages, versions, options that hold everywhere, and APP left out."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from choros import cli
from choros.cli.verbs import Group, Verb
from choros.version import __version__
from tests.cli.test_cli import SERVERS, STORE, TRAVEL, TRIP, Choros, Said, choros, started

__all__ = ["choros"]  # the fixture

OTHER = TRAVEL.replace('App("travel"', 'App("other"')
BOTH = "other.other, travel.travel"


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command there is, by the words that call it."""
    found: Any = group or cli._command()
    yield path, found
    for name, one in getattr(found, "commands", {}).items():
        yield from commands(one, (*path, name))


EVERY = dict(commands())


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CHOROS_APP", raising=False)


def test_there_are_the_commands_that_there_are() -> None:
    assert {("saga", "list"), ("sim", "run"), ("verify",), ("run",)} <= set(EVERY)
    assert all(isinstance(one, Verb | Group) for one in EVERY.values()), "and all are of the one kind"


def test_every_help_page_reads_well_in_eighty_columns(choros: Choros) -> None:
    for path, one in EVERY.items():
        said = choros(*path, "--help")
        assert (said.code, said.err) == (0, "")
        assert choros(*path, "-h") == said
        lines = said.out.splitlines()
        assert all(len(line) <= 80 for line in lines), max(lines, key=len)
        assert not re.search(r"<\w", said.out), "no type stands for a value"
        assert f"Usage: {' '.join(('choros', *path))} [OPTIONS]" in said.out
        if not hasattr(one, "commands"):
            assert f"  $ {' '.join(('choros', *path))}" in said.out, "an example"


def test_the_examples_are_command_lines() -> None:
    """Parsed, not run."""
    for path, one in EVERY.items():
        for line in getattr(one, "examples", ()):
            words = shlex.split(line.partition(" > ")[0].partition(" < ")[0])
            assert tuple(words[: len(path)]) == path
            one.make_context("choros", words[len(path) :])


def test_without_a_word_it_shows_what_there_is(choros: Choros) -> None:
    assert choros() == Said(2, choros("--help").out, "")
    assert choros("saga").out == choros("saga", "-h").out


@pytest.mark.parametrize("words", ["--version", "-V", "version"])
def test_the_version(choros: Choros, words: str) -> None:
    assert choros(words) == Said(0, f"choros {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "sentence", "hint"),
    [
        (("saga", "lst"), "No such command 'lst'", "choros saga --help"),
        (("saga", "list", "--stat", "x"), "No such option: --stat", "choros saga list --help"),
        (("saga", "list", "--limit", "many", "x"), "Invalid value for '--limit'", "choros saga list --help"),
        (("saga", "pause", "a", "b", "c"), "Got unexpected extra argument", "choros saga pause --help"),
        (("saga", "start", "travel", "trip"), "Missing option", "choros saga start --help"),
    ],
)
def test_what_is_mistyped_is_one_line_with_a_hint(
    choros: Choros, words: tuple[str, ...], sentence: str, hint: str
) -> None:
    said = choros(*words)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith(f"✖ {sentence}") and said.err.endswith(f" Try: {hint}.\n")


def test_a_shell_completes_commands_and_options(choros: Choros, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_CHOROS_COMPLETE", "complete_bash")
    for typed, completed in (("choros sa", "saga"), ("choros saga ret", "retry"), ("choros saga retry --st", "--step")):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
        assert completed in choros().out.split()


# --- everywhere -------------------------------------------------------------------------------------------------------


def test_quiet_leaves_the_answer(choros: Choros) -> None:
    started(choros)
    listed = ("saga", "list", "travel", "--status", "parked", *STORE)
    assert choros(*listed).err == "no saga instances\n"
    for words in (("--quiet", *listed), (*listed, "-q"), (*listed, "--quiet")):
        assert choros(*words) == Said(0, "", "")
    assert choros(*listed).err == "no saga instances\n", "and is over with the command"
    assert "✖" in choros("-q", "saga", "list", "travel", "--status", "x", *STORE).err


def test_the_log_level_is_said_or_stands_in_the_environment(choros: Choros, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[str] = []
    monkeypatch.setattr(cli.options, "configure_logging", lambda *_, level, **__: levels.append(level))
    started(choros)
    listed = ("saga", "list", "travel", *STORE)
    for words in (listed, (*listed, "--log-level", "debug"), ("--log-level", "ERROR", *listed)):
        choros(*words)
    monkeypatch.setenv("CHOROS_LOG_LEVEL", "info")
    choros(*listed)
    assert levels == ["WARNING", "WARNING", "DEBUG", "ERROR", "INFO"]
    said = choros(*listed, "--log-level", "warn")
    assert (said.code, said.err) == (2, "✖ There is no log level 'warn'. Did you mean 'warning'?\n")


# --- APP left out -----------------------------------------------------------------------------------------------------


def test_the_environment_says_which_application(choros: Choros, monkeypatch: pytest.MonkeyPatch) -> None:
    said = choros("saga", "pause", "Ada", *SERVERS)
    assert (said.code, said.err.startswith("✖ No application is named. Try: APP")) == (2, True)
    monkeypatch.setenv("CHOROS_APP", "travel")
    assert choros("saga", "start", "trip", "-i", TRIP, *SERVERS).code == 0
    assert choros("saga", "pause", "Ada", *SERVERS).out.startswith("paused")
    assert choros("saga", "resume", "travel", "Ada", *SERVERS).out.startswith("resumed"), "or said here"
    assert "everything fits together" in choros("check").out
    assert "everything fits together" in choros("check", "travel").out


def test_ids_may_follow_where_the_environment_says_the_application(
    choros: Choros, monkeypatch: pytest.MonkeyPatch
) -> None:
    redrive, ids = EVERY["dead", "redrive"], ["1d1f5763e636", "0a1b2c3d4e5f"]
    monkeypatch.setenv("CHOROS_APP", "travel")
    for words, application in ((ids, "travel"), (["other", *ids], "other")):
        given = redrive.make_context("choros", words).params
        assert (given["application"], list(given["ids"])) == (application, ids)


def test_where_the_store_alone_answers_no_application_is_needed(choros: Choros) -> None:
    saga_id = started(choros)
    (row,) = json.loads(choros("saga", "list", *STORE, "-o", "json").out)
    assert (row["saga_id"], row["step"]) == (saga_id, "book_it"), "the history names the step"
    for typed in ("Ada", saga_id, saga_id[:8]):
        assert saga_id in choros("saga", "show", typed, *STORE).out
    assert '"started"' in choros("saga", "events", "Ada", *STORE, "-o", "json").out
    assert json.loads(choros("saga", "export", *STORE).out)["key"] == "Ada"
    assert "Did you mean 'trip'?" in choros("saga", "list", "--saga", "trips", *STORE).err
    assert "choros saga list --store sqlite:///sagas.db" in choros("saga", "show", "Bob", *STORE).err


def test_a_store_of_several_applications_asks_which(choros: Choros, tmp_path: Any) -> None:
    started(choros)
    (tmp_path / "other.py").write_text(OTHER)
    assert choros("saga", "start", "other", "trip", "-i", TRIP, *SERVERS).code == 0
    said = choros("saga", "list", *STORE)
    assert (said.code, said.err) == (2, f"✖ This store holds sagas of {BOTH}. Try: name APP, or set CHOROS_APP.\n")
    assert len(choros("saga", "list", "other", *STORE).out.splitlines()) == 1


def test_a_file_that_is_no_store_says_so(choros: Choros, tmp_path: Any) -> None:
    (tmp_path / "sagas.db").write_bytes(b"")
    said = choros("saga", "list", *STORE)
    assert (said.code, "does not say whose sagas it holds" in said.err) == (1, True)
