"""What `choros topology permissions` prints, word by word; that it is enough, and no more, is tried on a broker."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from choros import App, FactLog, Service
from choros.cli.topology import app as topology_command
from choros.cli.topology import rights_of
from choros.errors import UsageError
from choros.roles.loading import load_app
from choros.transport.permissions import NOTHING, pattern
from tests.saga import shop

SHOP = "reference_services.order"


def said(*arguments: str) -> str:
    ended = CliRunner().invoke(topology_command, ["permissions", *arguments], catch_exceptions=False)
    assert ended.exit_code == 0
    return ended.stdout


def rows(*arguments: str) -> dict[str, dict[str, str]]:
    return {row["user"]: row for row in json.loads(said(*arguments, "--json"))["permissions"]}


def test_nobody_configures_and_each_role_has_a_row() -> None:
    shown = rows(SHOP, "--vhost", "sales")
    assert list(shown) == [
        "orchestrator", "client", "payment", "inventory", "shipping", "notifications", "analytics", "operator",
    ]  # fmt: skip
    assert {(row["configure"], row["vhost"]) for row in shown.values()} == {("^$", "sales")}
    assert shown["payment"]["write"] == r"^(shop\.payment\.dead|shop\.payment\.replies|shop\.retry\.probe)$"
    assert shown["payment"]["read"] == r"^shop\.payment$"
    assert shown["client"]["read"] == "^$"
    commanding = {user for user, row in shown.items() if re.fullmatch(row["write"], "shop.commands")}
    assert commanding == {"orchestrator", "client", "operator"}


def test_what_is_pasted_says_the_same() -> None:
    lines = [shlex.split(line) for line in said(SHOP).splitlines() if not line.startswith("#")]
    pasted = {user: rest for _, _, _, _, user, *rest in lines}
    assert pasted == {user: [row["configure"], row["write"], row["read"]] for user, row in rows(SHOP).items()}


def test_old_processes_need_more_and_only_while_they_run() -> None:
    shared = ("shop.replies", "shop.retry", "shop.dead")
    for flags, allowed in (([], False), (["--with-old"], True)):
        write = rows(SHOP, *flags)["payment"]["write"]
        assert {bool(re.fullmatch(write, exchange)) for exchange in shared} == {allowed}
        assert not re.fullmatch(write, "shop.facts")


def test_a_service_that_carries_out_and_reacts_has_both_and_a_reader_of_the_log_its_marks() -> None:
    both = Service("both", commands=[shop.ChargePayment], facts=[shop.OrderConfirmed], from_start=True)
    (role, rights), _ = rights_of(App("shop", services=[both], fact_log=FactLog()))
    assert role == "both"
    assert rights.reads == ("shop.both", "shop.facts.both", "shop.facts.log")
    assert {"shop.both.replies", "shop.both.dead", "shop.facts.both.dead", "shop.log.marks"} < set(rights.writes)


def test_an_operator_reads_what_is_parked_and_puts_it_back_the_way_it_came() -> None:
    shown = rows(SHOP)["operator"]
    queues = ("payment", "inventory", "shipping", "replies.order", "facts.notifications", "facts.analytics")
    assert {f"shop.{queue}.dead" for queue in queues} | {"shop.dead.acts"} == names(shown["read"])
    own = {f"shop.{service}.replies" for service in ("payment", "inventory", "shipping")}
    assert names(shown["write"]) == own | {
        "shop.commands", "shop.replies", "shop.retry", "shop.dead.acts", "shop.retry.probe",
    }  # fmt: skip


def names(pattern: str) -> set[str]:
    return set(pattern.strip("^$()").replace("\\", "").split("|"))


def test_a_service_called_client_is_not_the_one_who_starts_sagas() -> None:
    whole = load_app(SHOP)
    crm = Service("client", facts=[shop.OrderConfirmed])
    roles = dict(rights_of(App("shop", sagas=whole.sagas.values(), services=[*whole.services.values(), crm])))
    assert roles["client"].reads == ()
    assert roles["client-service"].reads == ("shop.facts.client",)


@pytest.mark.parametrize("where", ["--broker", "--store"])
def test_what_is_in_memory_is_not_declared_for_anybody(where: str) -> None:
    with pytest.raises(UsageError, match="in memory ends with this command"):
        CliRunner().invoke(topology_command, ["apply", SHOP, where, "memory://"], catch_exceptions=False)


@pytest.mark.parametrize("users", ["{application}", "{nobody}", "{role", "one", " "])
def test_users_that_are_one_or_none_are_refused(users: str) -> None:
    with pytest.raises(UsageError, match="--users"):
        said(SHOP, "--users", users)


@pytest.mark.parametrize("names", [(), ("a.b",), ("a.b", "a.c")])
def test_a_pattern_fits_what_it_is_made_of_and_nothing_else(names: Sequence[str]) -> None:
    made = pattern(names)
    for name in ("a.b", "a.c", "axb", "a.b.c", "x.a.b", "a.b|a.c"):
        assert bool(re.search(made, name)) is (name in names)
    assert (made == NOTHING) is (not names)
