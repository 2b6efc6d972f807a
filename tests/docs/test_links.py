"""What the pages point to exists, and the Python that they show compiles."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^```([a-z]*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """The page without what is shown as code."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_resolve(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{named(page)} links to {link}"
        assert target.is_relative_to(ROOT), f"{named(page)} links out of the repository: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{named(page)} links to {link}, a heading that is not there"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_compiles(page: Path) -> None:
    for language, block in _FENCE.findall(page.read_text()):
        if language == "python":
            compile(block, named(page), "exec")


def test_every_record_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    records = {page.name for page in folder.glob("[0-9]*.md")}
    assert records == set(_LINK.findall((folder / "README.md").read_text()))
    assert len({name[:4] for name in records}) == len(records)


def rules() -> list[list[str]]:
    lines = (ROOT / "docs" / "decisions" / "0001-rules.md").read_text().splitlines()
    return [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines if re.match(r"\| \d+ ", line)]


def test_the_rules_are_numbered_from_1_to_27_and_on_as_they_are_built() -> None:
    assert [int(row[0]) for row in rules()] == [*range(1, 34), 35, 36, 38, 39, 40, 42, *range(44, 48)]


def test_what_holds_a_rule_exists() -> None:
    for row in rules():
        for name in re.findall(r"`([^`]+)`", row[2]):
            found(name)


def found(name: str) -> object:
    """What a dotted name below `choros` stands for."""
    words = name.split(".")
    for length in range(len(words), 0, -1):
        try:
            thing: object = import_module(f"choros.{'.'.join(words[:length])}")
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            thing = getattr(thing, word)
        return thing
    raise AssertionError(f"choros has no {name}")


def test_a_record_is_short() -> None:
    for page in (ROOT / "docs" / "decisions").glob("[0-9]*.md"):
        most = 60 if page.name == "0001-rules.md" else 40  # a row for each rule
        assert len(page.read_text().splitlines()) <= most, named(page)
