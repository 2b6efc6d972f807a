"""What one saga costs, stage by stage: `make bench-stages`, or `python -m benchmarks.stages --rounds 9`.

Processor time of this process alone. What needs RabbitMQ and Redis is measured where AMQP_URL and REDIS_URL are set.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from benchmarks.neighbour import LOOPS, loop_factory
from benchmarks.page import put
from benchmarks.pattern import Pattern
from benchmarks.report import Table, as_markdown, as_text, described, this_machine
from benchmarks.stage.decisions import decision_stages, machine_stages
from benchmarks.stage.frames import frame_stages
from benchmarks.stage.passage import passage_stages
from benchmarks.stage.services import relay_stages, service_stages
from benchmarks.stage.stage import LOCAL, PART, RABBITMQ, Stage, sampled
from benchmarks.stage.stores import store_stages
from benchmarks.stage.whole import wholes
from benchmarks.stage.wire import text_stages, wire_stages
from choros.cli.garbage import search_less

Samples = Mapping[str, Sequence[float]]
"""Microseconds each, by the name of the stage, one for each round."""
HEAD = ("stage", "times", "µs each", "from - to", "wanted", "µs a saga", "wanted")


async def all_stages(stack: AsyncExitStack, folder: Path, amqp_url: str, redis_url: str) -> list[Stage]:
    """What adds up first, in the order in which a saga goes through it; then parts of that."""
    pattern = Pattern()
    return [
        *decision_stages(pattern),
        *(stores := await store_stages(pattern, stack, folder, redis_url))[3:],
        *relay_stages(pattern),
        *await passage_stages(pattern, stack, amqp_url),
        *wire_stages(pattern),
        *(services := await service_stages(pattern, stack, folder))[3:],
        *machine_stages(pattern),
        *frame_stages(pattern),
        *text_stages(pattern),
        *stores[:3],
        *services[:3],
    ]


async def measured(rounds: int, wanted: str = "") -> tuple[list[Stage], Samples]:
    """Every stage and the whole once in each round, so that whatever else the machine does falls on all of them."""
    amqp_url, redis_url = os.environ.get("AMQP_URL", ""), os.environ.get("REDIS_URL", "")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="choros-stages-")))
        found = await all_stages(stack, folder, amqp_url, redis_url)
        stages = [one for one in found if wanted in one.name]
        for stage in stages:
            await sampled(stage)  # what is only made once is made now
        samples: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            for stage in stages:
                samples[stage.name].append(await sampled(stage))
            for name, micros in (await wholes(folder, amqp_url, redis_url) if not wanted else {}).items():
                samples[name].append(micros)
    return stages, samples


def table(stages: Sequence[Stage], samples: Samples) -> Table:
    """A row for each stage, and one for each sum."""
    summed = [one for one in stages if one.of != PART]
    parts = [one for one in stages if one.of == PART]
    sums = [row for of in (RABBITMQ, LOCAL) for row in _sums(of, [one for one in stages if of in one.of], samples)]
    inner = [_row(one, samples[one.name], part=True) for one in parts]
    return [HEAD, *(_row(one, samples[one.name]) for one in summed), *sums, *inner]


def _row(stage: Stage, found: Sequence[float], *, part: bool = False) -> Sequence[str]:
    each = median(found)
    name = f"(in those) {stage.name}" if part else stage.name
    spread = f"{min(found):.1f} - {max(found):.1f}"
    total, wanted = each * stage.times, stage.wanted * stage.times
    return (name, f"{stage.times:g}", f"{each:.1f}", spread, f"{stage.wanted:g}", f"{total:.0f}", f"{wanted:.0f}")


def _sums(of: str, stages: Sequence[Stage], samples: Samples) -> list[Sequence[str]]:
    """What all stages of a set-up come to; the whole as it was measured, and what of that is in no stage."""
    total = sum(median(samples[one.name]) * one.times for one in stages)
    wanted = sum(one.wanted * one.times for one in stages)
    rows: list[Sequence[str]] = [(f"**{of}: the sum**", "", "", "", "", f"**{total:.0f}**", f"**{wanted:.0f}**")]
    if found := samples.get(of):
        spread = f"{min(found):.0f} - {max(found):.0f}"
        rows.append((f"**{of}: the whole**", "1", f"{median(found):.0f}", spread, "", f"**{median(found):.0f}**", ""))
        rows.append((f"{of}: in no stage", "", "", "", "", f"{median(found) - total:.0f}", ""))
    return rows


def main() -> None:
    """Measure, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--rounds", type=int, default=5, help="how often each stage is measured")
    given.add_argument("--only", default="", metavar="TEXT", help="only stages whose name has this in it")
    given.add_argument("--page", action="store_true", help="write the table into docs/performance.md")
    given.add_argument("--json", metavar="PATH", help="write what every round has found there")
    options = given.parse_args()
    search_less()  # as `choros run` does
    with asyncio.Runner(loop_factory=loop_factory(LOOPS[0])) as runner:
        stages, samples = runner.run(measured(options.rounds, options.only))
    found = table(stages, samples)
    print(as_text(found))
    if options.page:
        put("stages", f"{described(this_machine(LOOPS[0]))}\n\n{as_markdown(found)}")
    if options.json:
        Path(options.json).write_text(json.dumps(samples, indent=2) + "\n")


if __name__ == "__main__":
    main()
