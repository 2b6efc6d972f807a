"""Settings by environment, by a file and by secrets: what is in force, where it is from, and what is none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from choros import Addresses, App, UsageError
from choros.app.settings import SETTINGS
from choros.cli import _command, environment
from choros.roles.settings_files import KNOWN
from tests.cli.test_cli import Choros, choros

__all__ = ["choros"]  # the fixture


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is put into the environment goes with the test."""
    for name in [name for name in os.environ if name.startswith("CHOROS_")] + ["AMQP_URL", "REDIS_URL"]:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    yield
    environment._from.clear()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


def rows(choros: Choros) -> dict[str, tuple[str, str]]:
    said = choros("settings", "-o", "json")
    return {row["name"]: (row["value"], row["from"]) for row in json.loads(said.out)}


def test_defaults_and_what_the_environment_says(choros: Choros, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOROS_DRAIN", "3s")
    monkeypatch.setenv("REDIS_URL", "redis://:secret@cache:6379/0")
    found = rows(choros)
    assert found["CHOROS_DRAIN"] == ("3s", "environment")
    assert found["CHOROS_STORE"] == ("redis://***@cache:6379/0", "REDIS_URL")
    assert found["CHOROS_DATABASE"] == ("sqlite:///.choros/{service}.db", "default")
    assert found["CHOROS_PREFETCH"] == (SETTINGS["prefetch"].shown(64), "default")
    assert found["CHOROS_NAMESPACE"] == ("", "")
    assert list(found) == sorted(found)
    settable = {names[0] for names in environment.variables(_command())}
    assert settable <= set(found)
    assert sorted(found) == KNOWN, "a file of settings knows them without the command line"


def test_the_environment_goes_before_secrets_and_those_before_the_file(
    choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "choros.env").write_text(
        "# of the shop\nexport CHOROS_DRAIN='4s'\nCHOROS_WAIT=5s\nCHOROS_BROKER=amqp://file/\nOTHER=1\n"
    )
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "choros_broker").write_text("amqp://me:secret@broker/\n")
    (secrets / "CHOROS_WAIT").write_text("6s")
    (secrets / "password_of_others").write_text("x")
    monkeypatch.setenv("CHOROS_SETTINGS", str(tmp_path / "choros.env"))
    monkeypatch.setenv("CHOROS_SECRETS", str(secrets))
    monkeypatch.setenv("CHOROS_WAIT", "7s")
    found = rows(choros)
    assert found["CHOROS_DRAIN"] == ("4s", f"file {tmp_path / 'choros.env'}")
    assert found["CHOROS_WAIT"] == ("7s", "environment")
    assert found["CHOROS_BROKER"] == ("***", f"secret in {secrets}")
    assert os.environ["CHOROS_BROKER"] == "amqp://me:secret@broker/", "which every option reads"
    assert "OTHER" not in os.environ


def test_what_is_no_setting_is_named(choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOROS_BROKR", "amqp://x")
    said = choros("settings")
    assert (said.code, said.err) == (1, "! CHOROS_BROKR is no setting. Did you mean 'CHOROS_BROKER'?\n")
    monkeypatch.delenv("CHOROS_BROKR")
    file = tmp_path / "choros.env"
    file.write_text("CHOROS_STROE=redis://x\n")
    monkeypatch.setenv("CHOROS_SETTINGS", str(file))
    said = choros("version")
    assert (said.code, said.out) == (2, ""), "before anything is done"
    assert f"{file}: there is no setting CHOROS_STROE. Did you mean 'CHOROS_STORE'?" in said.err


@pytest.mark.parametrize("variable", ["CHOROS_SETTINGS", "CHOROS_SECRETS"])
def test_a_file_or_folder_that_is_not_there(choros: Choros, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/nowhere/at/all")
    said = choros("version")
    assert (said.code, said.out) == (2, "")
    assert "'/nowhere/at/all'" in said.err


def test_what_is_no_text(choros: Choros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "choros_drain").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("CHOROS_SECRETS", str(tmp_path))
    assert "cannot be read: UnicodeDecodeError" in choros("version").err
    monkeypatch.setenv("CHOROS_SETTINGS", str(tmp_path / "choros_drain"))
    monkeypatch.delenv("CHOROS_SECRETS")
    assert "cannot be read: UnicodeDecodeError" in choros("version").err


def test_without_the_package_it_says_which(choros: Choros, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOROS_SETTINGS", "x")
    monkeypatch.setitem(sys.modules, "pydantic_settings", None)
    assert "pip install 'choros[settings]'" in choros("version").err
    monkeypatch.delenv("CHOROS_SETTINGS")
    assert choros("version").code == 0, "and who needs none has none"


# --- what a program of one's own reads ---


def test_a_program_finds_everything_where_the_commands_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "choros.env").write_text("CHOROS_BROKER=amqp://file/\nCHOROS_STORE=redis://file/\nCHOROS_HTTP=:1\n")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "choros_broker").write_text("amqp://me:secret@broker/\n")
    monkeypatch.setenv("CHOROS_SETTINGS", str(tmp_path / "choros.env"))
    monkeypatch.setenv("CHOROS_SECRETS", str(secrets))
    found = Addresses.from_settings()
    assert (found.broker, found.store) == ("amqp://me:secret@broker/", "redis://file/")
    assert found.namespaced(App("wine")).namespace == "wine"
    monkeypatch.setenv("CHOROS_STORE", "redis://here/")
    monkeypatch.setenv("CHOROS_NAMESPACE", "wine-ada")
    assert Addresses.from_settings().namespaced(App("wine")).namespace == "wine-ada"
    assert Addresses.from_settings().store == "redis://here/"
    assert "CHOROS_BROKER" not in os.environ, "the environment is the program's"


def test_a_program_without_a_broker_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="CHOROS_BROKER is set nowhere"):
        Addresses.from_settings()
    file = tmp_path / "choros.env"
    monkeypatch.setenv("CHOROS_BROKR", "amqp://x")
    with pytest.raises(UsageError, match="Did you mean 'CHOROS_BROKR'"):
        Addresses.from_settings()
    monkeypatch.setenv("CHOROS_SETTINGS", str(file))
    file.write_text("CHOROS_BROKER=amqp://x\nCHOROS_STROE=redis://x\n")
    with pytest.raises(UsageError, match=r"there is no setting CHOROS_STROE\. Did you mean 'CHOROS_STORE'\?"):
        Addresses.from_settings()
    monkeypatch.setenv("CHOROS_SETTINGS", "/nowhere")
    with pytest.raises(UsageError, match="There is no file of settings '/nowhere'"):
        Addresses.from_settings()
    monkeypatch.delenv("CHOROS_SETTINGS")
    monkeypatch.setenv("AMQP_URL", "amqp://x/")
    monkeypatch.setenv("REDIS_URL", "redis://x/")
    assert Addresses.from_settings() == Addresses("amqp://x/", "redis://x/")
