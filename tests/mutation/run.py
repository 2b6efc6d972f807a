"""Mutation testing of what must not decide wrongly: `python tests/mutation/run.py [--since REF] [PATTERN...]`.

mutmut wants a `src` layout and writes beside what it mutates, so it works on a copy of this tree in its own folder.
Every mutant meets the tests that reach its function, until one fails; a loop without end is cut off. A group with
fewer than 90 % killed, or an entry of `equivalent.toml` that names no survivor, is a failure. Survivors are
shown as diffs. What is marked `slow` is left out: a survivor would meet all of it. With `--most`, and more mutants than
that in a group, chance decides which are tried, and it says so.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
LEAST = 90.0
GROUPS: Mapping[str, tuple[str, ...]] = {
    "saga": ("choros/saga/**/*.py",),
    "barrier": (
        "choros/runtime/participant/verdicts.py",
        "choros/runtime/participant/execution.py",
        "choros/runtime/participant/settlement.py",
        "choros/store/memory/barrier.py",
    ),
}
TESTS: Mapping[str, tuple[str, ...]] = {
    "saga": ("tests/saga",),
    "barrier": (
        "tests/runtime/test_verdicts.py",
        "tests/runtime/test_execution.py",
        "tests/runtime/test_participant.py",
        "tests/runtime/test_participant_provider.py",
        "tests/runtime/test_refusal_data.py",
        "tests/runtime/test_local_undo.py",
        "tests/runtime/test_own_headers.py",
        "tests/runtime/test_service_outbox.py",
        "tests/runtime/test_unfinished.py",
        "tests/store/test_databases.py::TestMemoryDatabase",
    ),
}
CAUGHT = {"killed", "timeout", "segfault", "suspicious"}
QUICK = "not servers and not long and not slow"
NONE_OF_THEM = "none"
IMPATIENT = {"CHOROS_PATIENCE": "25"}  # a mutant often shows by what does not come; most of it is virtual time


@dataclass
class Result:
    """What became of the mutants of one file."""

    killed: int = 0
    survivors: list[str] = field(default_factory=list)
    """mutmut's names of them."""


@dataclass(frozen=True)
class Figures:
    """What became of a group's mutants."""

    killed: int
    survived: int
    equivalent: int
    """Survivors that nothing visible tells from the original."""
    share: float
    """Killed, in per cent of all that are not equivalent."""
    good: bool


def main() -> int:
    """Run the groups that are asked for; the number of groups that fell short."""
    parser = argparse.ArgumentParser(description="Mutation testing of saga/ and the barrier.")
    parser.add_argument("patterns", nargs="*", help="only files like these, as choros/saga/machine/turn.py")
    parser.add_argument("--since", metavar="REF", help="only files that differ from this commit")
    parser.add_argument("--most", type=int, metavar="N", help="at most so many mutants of a group, drawn by chance")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of that draw")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    given = parser.parse_args()
    chosen = {group: sorted(_files(group, given.patterns, given.since)) for group in GROUPS}
    figures = {group: _group(group, files, given) for group, files in chosen.items() if files}
    if given.json:
        given.json.write_text(json.dumps({"groups": {group: vars(one) for group, one in figures.items()}}, indent=2))
    return sum(not one.good for one in figures.values())


def _files(group: str, patterns: Sequence[str], since: str | None) -> Iterable[str]:
    framework = ROOT / "framework"
    changed = None if since is None else _changed(since)
    for pattern in GROUPS[group]:
        for path in framework.glob(pattern):
            name = path.relative_to(framework).as_posix()
            wanted = not patterns or any(fnmatch.fnmatch(name, one) for one in patterns)
            if wanted and (changed is None or f"framework/{name}" in changed):
                yield name


def _changed(since: str) -> set[str]:
    listed = subprocess.run(
        ["git", "diff", "--name-only", since, "--", "framework"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split())


def _group(group: str, files: list[str], given: argparse.Namespace) -> Figures:
    with tempfile.TemporaryDirectory(prefix="choros-mutants-") as folder:
        tree = Path(folder)
        _copy(tree, group, files)
        drawn = _drawn(tree, group, given.most, given.seed)
        _mutmut(tree, "run", "--max-children", str(given.workers), *drawn)
        results = _results(tree, files, drawn)
        return _report(group, results, _diffs(tree, results), whole=not drawn)


def _drawn(tree: Path, group: str, most: int | None, seed: int) -> list[str]:
    """Which mutants are tried; nothing stands for all of them."""
    if most is None:
        return []
    _mutmut(tree, "run", NONE_OF_THEM, check=False)  # which makes them all, then says that none has this name
    names = sorted(mutant for mutant, _ in _statuses(tree))
    if len(names) <= most:
        return []
    print(f"{group}: {most} of {len(names)} mutants, drawn with --seed {seed}; the others were not tried.", flush=True)
    return random.Random(seed).sample(names, most)


def _mutmut(tree: Path, *arguments: str, check: bool = True, capture: bool = False) -> str:
    """Run it and return what it says, if that is not for the person who waits."""
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments], cwd=tree, env={**os.environ, **IMPATIENT}, check=check, text=True,
        stdout=subprocess.PIPE if capture else sys.stderr if check else subprocess.DEVNULL,
        stderr=None if check else subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout if capture else ""


def _copy(tree: Path, group: str, files: list[str]) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "framework", tree / "src", ignore=ignored)
    for name in ("tests", "reference_services"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    tests = [test for test in TESTS[group] if (ROOT / test.split("::")[0]).exists()]
    settings = (
        f'\n[tool.mutmut]\nsource_paths = ["src"]\nonly_mutate = {[f"src/{name}" for name in files]}\n'
        f'pytest_add_cli_args_test_selection = {tests}\npytest_add_cli_args = ["-m", "{QUICK}"]\n'
        'also_copy = ["src", "tests", "reference_services"]\n'
    )
    (tree / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + settings)


def _statuses(tree: Path) -> Iterable[tuple[str, str]]:
    for line in _mutmut(tree, "results", "--all", "true", capture=True).splitlines():
        mutant, separator, status = line.strip().partition(": ")
        if separator:
            yield mutant, status


def _results(tree: Path, files: list[str], drawn: list[str]) -> dict[str, Result]:
    results: dict[str, Result] = {name: Result() for name in files}
    for mutant, status in _statuses(tree):
        if drawn and mutant not in drawn:
            continue
        module = mutant.rsplit(".", 1)[0]
        result = results[f"{module.replace('.', '/')}.py"]
        if status in CAUGHT:
            result.killed += 1
        else:
            result.survivors.append(mutant)
    return results


def _diffs(tree: Path, results: Mapping[str, Result]) -> dict[str, str]:
    """Each survivor as the lines that it changes."""

    def lines_of(mutant: str) -> str:
        lines = _mutmut(tree, "show", mutant, capture=True).splitlines()
        return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))

    survivors = [mutant for result in results.values() for mutant in result.survivors]
    with ThreadPoolExecutor(2) as several:
        return dict(zip(survivors, several.map(lines_of, survivors), strict=True))


def _report(group: str, results: Mapping[str, Result], diffs: Mapping[str, str], *, whole: bool) -> Figures:
    """Print the figures and the survivors. Only a whole run can say that an excuse is no longer needed."""
    excused = _excused(results)
    used: Counter[tuple[str, str]] = Counter()
    total: dict[str, int] = defaultdict(int)
    for name, result in results.items():
        equivalent = 0
        for mutant in result.survivors:
            key = (name, _bare(diffs[mutant]))
            if key in excused:
                used[key] += 1
                equivalent += 1
            else:
                print(f"\n{mutant} survived in {name}:\n{diffs[mutant]}")
        total["killed"] += result.killed
        total["alive"] += len(result.survivors) - equivalent
        _line(name, result.killed, len(result.survivors) - equivalent, equivalent)
    stale = [key for key in excused if whole and key not in used]
    for name, lines in stale:
        print(f"\n{EQUIVALENT.name} lists a mutant of {name} that is killed, or not there any more:\n{lines}")
    equivalent = sum(used.values())
    share = _line(group, total["killed"], total["alive"], equivalent)
    return Figures(total["killed"], total["alive"], equivalent, share, share >= LEAST and not stale)


def _line(name: str, killed: int, alive: int, equivalent: int) -> float:
    share = 100.0 * killed / (killed + alive) if killed + alive else 100.0
    print(f"{name:<36} {killed:5} killed {alive:4} survived {equivalent:3} equivalent {share:6.1f} %")
    return share


def _excused(results: Mapping[str, Result]) -> dict[tuple[str, str], str]:
    """Why a survivor is no gap: nothing that anybody can see tells it from the original."""
    listed = tomllib.loads(EQUIVALENT.read_text())["mutant"]
    return {(one["file"], _bare(one["lines"])): one["reason"] for one in listed if one["file"] in results}


def _bare(lines: str) -> str:
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in lines.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
