"""The board and the alert rules: whole by their own schema and tests, and about metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.promtool import promtool
from tests.runtime.test_metrics import LABELS, at_work, shop

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "choros.rules.yaml"
BOARD = json.loads((DEPLOY / "grafana" / "choros.json").read_text())
_METRIC = re.compile(r"choros_[a-z_]+")
_BY = re.compile(r"by \(([^)]*)\) \([^c]*(?:rate|increase)?\(?(choros_[a-z_]+)")


def expressions() -> list[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    told = [rule["expr"] for group in groups for rule in group["rules"]]
    return told + [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


def lost(said: Any, read: Any, at: str = "") -> Iterator[str]:
    """What of a board Grafana's own types do not have."""
    if isinstance(said, dict):
        for name, value in said.items():
            there = isinstance(read, dict) and name in read
            yield from lost(value, read[name], f"{at}/{name}") if there else [f"{at}/{name}"]
    elif isinstance(said, list):
        for number, value in enumerate(said):
            yield from lost(value, read[number], f"{at}/{number}")
    elif said != read:
        yield at


def read_by_grafana(board: Any) -> Any:
    register_default_plugins()
    return json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))


def test_the_board_is_one_by_grafanas_own_types() -> None:
    assert list(lost(BOARD, read_by_grafana(BOARD))) == []
    places = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in BOARD["panels"]]
    assert len(set(places)) == len({one["id"] for one in BOARD["panels"]}) == len(BOARD["panels"])


@pytest.mark.parametrize("change", [("panels", "titel"), ("templating", "lst")])
def test_a_board_with_a_slip_is_found_out(change: tuple[str, str]) -> None:
    where, slip = change
    board = json.loads(json.dumps(BOARD))
    part = board[where][0] if isinstance(board[where], list) else board[where]
    part[slip] = "x"
    assert [one.rpartition("/")[2] for one in lost(board, read_by_grafana(board))] == [slip]


def test_it_shows_what_an_operator_looks_for() -> None:
    shown = " ".join(expressions())
    for metric in LABELS:
        assert metric in shown, metric


async def test_all_that_is_read_there_is_told_by_a_process() -> None:
    async with at_work(shop()) as (_, _, metrics):
        text = (await metrics())[1].decode()
    families = dict(re.findall(r"# TYPE (\w+) (\w+)", text))
    suffixes = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    told = {f"{name}{suffix}" for name, kind in families.items() for suffix in suffixes[kind]}
    read = {name for one in expressions() for name in _METRIC.findall(one)}
    assert read - told == set()
    assert "choros_nothing" not in told


def test_each_is_gathered_by_labels_that_it_has() -> None:
    own = ("job", "instance")  # which Prometheus adds
    gathered = [pair for one in expressions() for pair in _BY.findall(one)]
    assert len(gathered) > 20
    for by, metric in gathered:
        name = re.sub(r"_(total|bucket)$", "", metric)
        assert {label.strip() for label in by.split(",")} <= {*LABELS.get(name, ()), *own, "le"}, (metric, by)


def test_prometheus_takes_the_rules_and_their_tests_pass() -> None:
    assert promtool("check", "rules", str(RULES)) == ""
    assert promtool("test", "rules", str(RULES.with_suffix(".test.yaml"))) == ""
    tested = RULES.with_suffix(".test.yaml").read_text()
    for alert in re.findall(r"alert: (\w+)", RULES.read_text()):
        assert f"alertname: {alert}" in tested, alert
