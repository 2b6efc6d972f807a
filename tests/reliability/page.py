"""The report as a page: every figure is read from what a run has written, and says which commit it ran on."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "reliability-report.md"
Figures = Mapping[str, Any]
HEAD = """# Reliability report

Written by `make reliability-report` from what its runs measured; not by hand. What is promised and how it is shown:
[reliability](reliability.md). A zero means: not seen. Among N sagas it supports a rate below 3/N, at 95 %.
"""


def page(measured: Mapping[str, Figures | None]) -> str:
    """The whole page."""
    parts = {
        "Explored": _explored(measured["verify"], measured["verify-long"]),
        "The real code, every combination": _real_code(measured["verify"]),
        "Simulated": _simulated(measured["simulation"]),
        "Mutation testing": _mutated(measured["mutation"]),
        "Real processes, one broker node": _chaos(measured["chaos"]),
        "Real processes, three broker nodes": _chaos(measured["cluster"]),
        "Expected to lose": _losing(measured["losing"]),
    }
    text = HEAD
    for title, lines in parts.items():
        text += f"\n## {title}\n\n" + "\n".join(lines) + "\n"
    return text


NOT_RUN = "Not run for this report."


def _table(head: tuple[str, ...], *rows: tuple[object, ...]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"


def _explored(*runs: Figures | None) -> Iterator[str]:
    sagas = [saga for run in runs if run for saga in run["sagas"]]
    if not sagas:
        yield NOT_RUN
        return
    yield f"Commit {', '.join(sorted({run['commit'] for run in runs if run}))}."
    yield ""
    head = (
        "saga",
        "budgets (duplicates/crashes/retries)",
        "states",
        "transitions",
        "s",
        "MiB",
        "complete",
        "violations",
    )
    rows = [
        (
            saga["saga"], f"{saga['duplicates']}/{saga['crashes']}/{saga['retries']}", f"{saga['states']:,}",
            f"{saga['transitions']:,}", f"{saga['seconds']:.0f}", f"{saga['peak_mib']:.0f}",
            "yes" if saga["complete"] else "no, stopped at a cap", 1 if saga["violation"] else 0,
        )
        for saga in sagas
    ]  # fmt: skip
    yield from _table(head, *rows)
    mutants = [mutant for saga in sagas for mutant in saga.get("mutants", ())]
    if mutants:
        stories = [len(mutant["report"]["story"]) for mutant in mutants if mutant["report"]]
        yield ""
        yield f"Negative controls: of {len(mutants)} protocols with a part taken out, {len(stories)} were caught, with"
        yield f"stories of at most {max(stories)} events; the others take out what this saga does not have."


def _real_code(run: Figures | None) -> Iterator[str]:
    runs = [saga["real_code"] for saga in run["sagas"] if "real_code" in saga] if run else []
    if not runs:
        yield NOT_RUN
    for one in runs:
        kind = "every combination" if one["complete"] else f"every pair, of {one['possible']:,} combinations"
        yield f"Saga {one['saga']}: {kind} of outcome and fault per step,"
        yield f"{one['runs']:,} runs in {one['seconds']:.0f} s"
        yield f"({_listed(one['statuses'])}); {len(one['violations'])} violations."


def _simulated(run: Figures | None) -> Iterator[str]:
    if not run:
        yield NOT_RUN
        return
    sagas = sum(run["sagas"].values())
    yield f"Commit {run['commit']}: {run['runs']:,} campaigns, {sagas:,} sagas ({_listed(run['sagas'])}),"
    yield f"{run['virtual_seconds'] / 86_400:,.0f} days of virtual time in {run['seconds']:.0f} s."
    yield f"**{run['failed']} campaigns with a violation**; 3/N = {3 / sagas:.1e}."
    yield f"Never exercised: {', '.join(run['never']) or 'nothing'}."
    yield ""
    yield from _table(("fault", "times"), *((kind, f"{count:,}") for kind, count in run["faults"].items()))


def _mutated(run: Figures | None) -> Iterator[str]:
    if not run:
        yield NOT_RUN
        return
    yield f"Commit {run['commit']}."
    yield ""
    head = ("group", "mutants", "killed", "survived", "equivalent", "share killed")
    rows = [
        (name, one["killed"] + one["survived"] + one["equivalent"], one["killed"], one["survived"], one["equivalent"],
         f"{one['share']:.1f} %")
        for name, one in run["groups"].items()
    ]  # fmt: skip
    yield from _table(head, *rows)


def _chaos(run: Figures | None) -> Iterator[str]:
    if not run:
        yield NOT_RUN
        return
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    yield f"Commit {run['commit'][:12]}, {run['at']}, seed {run['seed']}, {run['minutes']:g} minutes; {versions}."
    yield ""
    yield f"{run['sagas']:,} sagas ({_listed(run['outcomes'])}) under {run['kills']} kills and {run['cuts']} cuts among"
    yield f"{sum(run['faults'].values())} faults. After a big fault the next saga ended within {_recovery(run)}."
    yield ""
    zeros = [(kind, count, _bound(run)) for kind, count in run["zeros"].items()]
    yield from _table(("violation", "seen", "3/N"), *zeros)
    yield ""
    yield "Faults: " + _listed(run["faults"]) + "."
    if run["impossible"]:
        yield f"Not possible on that machine: {', '.join(run['impossible'])}."


def _recovery(run: Figures) -> str:
    times = run["recovery"]
    return f"{times['p50']} s (p50), {times['p99']} s (p99), {times['max']} s at most"


def _bound(run: Figures) -> str:
    return f"{run['bound']:.1e}" if run["bound"] else "–"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _losing(run: Figures | None) -> Iterator[str]:
    yield "These configurations may lose what they acknowledged. Then sagas step back and send the same keys again, and"
    yield "a start whose record is gone is repeated by its caller; every effect and fact must still be single."
    yield ""
    if not run:
        yield NOT_RUN
        return
    rows = [(one["case"], one["transitions lost"], "kept" if one["passed"] else "BROKEN") for one in run["cases"]]
    yield from _table(
        ("configuration", "acknowledged transitions lost, of six sagas", "effects and facts single"), *rows
    )
