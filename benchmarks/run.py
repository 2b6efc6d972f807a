"""Sagas per second beside the floor of the broker itself: `make bench`, or with options `make bench ARGS="--quick"`.

It needs AMQP_URL and REDIS_URL, and measures on POSTGRES_URL too, all of which tests/servers.py sets, and talks to
nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if not __package__:  # run as a script: make the repository importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.campaign import DEFAULT, QUICK, Campaign, Plan, Results
from benchmarks.contestants import arena
from benchmarks.demands import verdicts
from benchmarks.measuring import SagasLost
from benchmarks.neighbour import LOOPS, Neighbour, loop_factory
from benchmarks.page import put
from benchmarks.report import NOTES, Machine, as_json, as_markdown, as_text, described, machine, table
from choros.cli.garbage import search_less
from choros.telemetry.lines import configure_logging


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 if a saga was lost, 2 if there are no servers."""
    options = parse(arguments)
    missing = [name for name in ("AMQP_URL", "REDIS_URL") if not os.environ.get(name)]
    if missing:
        print(f"{' and '.join(missing)} must be set. Try: make bench.", file=sys.stderr)
        return 2
    with open(os.devnull, "w") as nowhere, asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        configure_logging("bench", level=options.log_level, stream=nowhere, json=True)
        search_less()  # as `choros run` does
        try:
            results, this = runner.run(bench(plan(options), options.loop, options.log_level))
        except SagasLost as lost:
            print(lost, file=sys.stderr)
            return 1
    print(f"{described(this)}\n{as_text(table(results), grouped=True)}\n\n{as_text(verdicts(results))}\n\n{NOTES}")
    if options.page:
        put(
            "rates",
            f"{described(this)}\n\n{plan(options)}\n\n{as_markdown(verdicts(results))}\n\n{as_markdown(table(results))}",
        )
    if options.json:
        Path(options.json).write_text(json.dumps(as_json(results, this), indent=2) + "\n")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench", description="Sagas per second beside the floor.")
    parser.add_argument("--quick", action="store_true", help="one round of few sagas: under a minute")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--sagas", type=int, help="at most so many sagas in a measurement")
    parser.add_argument("--in-flight", type=int, nargs="+", metavar="N", help="only these levels of 1, 10, 100, 1000")
    parser.add_argument("--only", nargs="+", default=(), metavar="TEXT", help="only whose name has one of these in it")
    parser.add_argument("--loop", choices=LOOPS, default=LOOPS[0], help="the event loop, of all rows alike")
    parser.add_argument("--log-level", default="INFO", help="of choros (default: INFO, as shipped)")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/performance.md")
    parser.add_argument("--json", metavar="PATH", help="write every figure of every round there")
    return parser.parse_args(arguments)


def plan(options: argparse.Namespace) -> Plan:
    """How much to measure."""
    chosen = QUICK if options.quick else DEFAULT
    wanted = options.in_flight or list(chosen.levels)
    levels = {level: sagas for level, sagas in chosen.levels.items() if level in wanted}
    if options.sagas:
        levels = {level: min(options.sagas, most) for level, most in levels.items()}
    rounds = options.rounds or chosen.rounds
    return replace(chosen, levels=levels, rounds=rounds, only=options.only)


async def bench(plan: Plan, loop: str, log_level: str) -> tuple[Results, Machine]:
    """The figures, and what they were measured on."""
    amqp_url, redis_url = os.environ["AMQP_URL"], os.environ["REDIS_URL"]
    this = await machine(amqp_url, redis_url, loop)
    with tempfile.TemporaryDirectory(prefix="choros-bench-") as folder:
        async with arena(amqp_url, redis_url, Path(folder), os.environ.get("POSTGRES_URL", "")) as here:
            neighbour = Neighbour(loop, log_level)
            try:
                results = await Campaign(here, plan, server_processes(), neighbour, _say).run()
            finally:
                neighbour.close()
    return results, this


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def server_processes() -> dict[str, int]:
    """The process ids of private servers; none if somebody else's are used."""
    description = os.environ.get("CHOROS_TEST_SERVERS")
    if not description or not Path("/proc/self/stat").exists():
        return {}
    found = json.loads(Path(description).read_text())
    return {name: found[f"{name}_pid"] for name in ("rabbitmq", "redis", "postgres")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
