"""`python -m tests.chaos --minutes 15`: exit code 0 if sagas ran and none was lost, doubled, left standing or stuck."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests import servers
from tests.chaos import report
from tests.chaos.battlefield import Single
from tests.chaos.campaign import Campaign, Plan
from tests.chaos.cluster_field import clustered


def main() -> int:
    """Run one campaign and say what it came to."""
    options = _options().parse_args()
    if servers.missing() and servers.can_install():
        servers.install()
    if servers.missing():
        _say(f"Install {' and '.join(servers.missing())} first.")
        return 2
    seed = options.seed or random.randrange(1, 10**6)
    permits = seed % 2 == 1 if options.permissions == "seed" else options.permissions == "least"
    permits = permits and not options.flows  # whoever sets the broker up knows of the sagas' application only
    plan = replace(plan_of(options.minutes, seed), permits=permits, postgres=options.postgres, flows=options.flows)
    folder = Path(options.folder or tempfile.mkdtemp(prefix="choros-chaos-")).resolve()
    make_field = partial(Single, postgres=options.postgres)
    campaign = clustered(plan, folder, _say) if options.cluster else Campaign(plan, folder, _say, make_field)
    result = asyncio.run(campaign.run())
    nodes = "three RabbitMQ nodes with quorum queues" if options.cluster else "one RabbitMQ node"
    sagas = ", sagas in one PostgreSQL" if options.postgres else ""
    written = report.as_json(result, f"{nodes}, one Redis with appendfsync always{sagas}")
    report.write(Path(options.report or folder / "report.json"), written)
    lines = list(report.evidence(result))
    (folder / "evidence.txt").write_text("\n".join(lines))
    for line in [*report.summary(written), *lines, f"artefacts: {folder}"]:
        _say(line)
    failed = result.verdict.violations or result.strangers.missing or written["hung"] or written["unheeded"]
    return 1 if failed or not written["sagas"] or not result.drained else 0


def plan_of(minutes: float, seed: int) -> Plan:
    """Short ones are denser, so that every kind of fault has its turn; half the load leaves processors for that."""
    if minutes <= 5:
        return Plan(minutes, seed, rate=30.0, small_every=1.5, big_every=1.5, pace=0.4)
    return Plan(minutes, seed)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (this is a command)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="how long the faults go on (15)")
    parser.add_argument("--seed", type=int, default=0, help="of scripts and faults; chosen if not given")
    parser.add_argument(
        "--cluster", action="store_true", help="on three RabbitMQ nodes, which are killed and cut off too"
    )
    parser.add_argument("--postgres", action="store_true", help="with the sagas in PostgreSQL, which is hurt too")
    parser.add_argument("--flows", action="store_true", help="with a flow that nobody orchestrates beside the sagas")
    parser.add_argument(
        "--permissions",
        choices=("least", "all", "seed"),
        default="seed",
        help="what each role may do on the broker: what `choros topology permissions` prints, or everything; "
        "by default the one with odd seeds, the other with even ones",
    )
    parser.add_argument("--report", default="", help="where the JSON report goes")
    parser.add_argument("--folder", default="", help="where everything is kept; a new temporary one if not given")
    return parser


if __name__ == "__main__":
    sys.exit(main())
