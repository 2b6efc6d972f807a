"""The versions that the pages name are those that the workflow, the package and `make test-versions` name."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text()
ROWS = re.findall(r"^\| `?([\w.]+)`? \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", PAGE, re.MULTILINE)
"""Name, Python, RabbitMQ and Redis of each row of the table."""


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def test_the_workflow_runs_on_what_the_page_names() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    named = {tuple(map(minor, versions)) for _, *versions in ROWS}
    assert {(one["python"], one["rabbitmq"], one["redis"]) for one in matrix} == named
    assert len(named) == len(ROWS) == 4


def test_the_package_names_each_python_that_it_was_run_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = [found[1] for one in project["classifiers"] if (found := re.search(r":: (3\.\d+)$", one))]
    assert said == [minor(python) for _, python, _, _ in ROWS]
    assert project["requires-python"] == f">={said[0]}"


def test_all_but_the_first_row_is_what_make_test_versions_repeats() -> None:
    (repeated,) = re.findall(r"^'+\) main (.*) ;;$", (ROOT / ".ci/versions").read_text(), re.MULTILINE)
    assert sorted(repeated.split()) == sorted(name for name, *_ in ROWS[1:])


def test_the_readme_names_the_first_and_the_last() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    for index, what in enumerate(("Python", "RabbitMQ", "Redis"), start=1):
        assert f"{what} {minor(ROWS[0][index])} to {minor(ROWS[-1][index])}" in readme
