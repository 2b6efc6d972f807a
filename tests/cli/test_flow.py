"""`choros flow` at the command line."""

from __future__ import annotations

import json

from tests.cli.test_cli import Choros, choros

__all__ = ["choros"]  # the fixture

ORDERS = "tests.desk.test_flow_map:ORDERS"


def test_the_map_in_each_format(choros: Choros) -> None:
    assert choros("flow", "map", ORDERS).out.startswith("order-confirmed.v1\n  published by")
    twice = choros("flow", "map", ORDERS, "--with", ORDERS)
    assert twice == choros("flow", "map", ORDERS), "named twice is once"
    assert json.loads(choros("flow", "map", ORDERS, "-o", "json").out)["namespace"] == "map"
    assert choros("flow", "map", ORDERS, "-o", "mermaid").out.startswith("flowchart")
    assert choros("flow", "map", ORDERS, "-o", "svg").out.startswith("<svg")


def test_a_format_that_there_is_not(choros: Choros) -> None:
    said = choros("flow", "map", ORDERS, "-o", "smg")
    assert (said.code, said.out) == (2, "")
    assert "There is no output format 'smg'" in said.err
