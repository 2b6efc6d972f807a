"""Figures on the page about performance, each table between marks, so that what people have written stays."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def put(section: str, text: str, page: Path = PAGE) -> None:
    """Write this where the page has the section of this name; raises ValueError where it has none."""
    begin, end = marks(section)
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no section {section!r}: {begin} ... {end}.")
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")


def marks(section: str) -> tuple[str, str]:
    """What a section begins and ends with; no reader sees them."""
    return f"<!-- {section} -->", f"<!-- end of {section} -->"
