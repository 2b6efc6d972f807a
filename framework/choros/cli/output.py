"""What the commands print: rows for people on a terminal, for `cut` and `awk` in a pipe, for programs as JSON.

On a terminal rows have a header, stand in line and never wrap: what does not fit is cut. Piped, each is one line of
whole values, separated by tabs, without a header (as `gh` does it). JSON has everything, and is the same everywhere.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from rich.cells import cell_len, set_cell_size

from choros.errors import UsageError, unknown

TableRow = Mapping[str, Any]
"""What a row is as JSON; its columns are made of that."""
FORMATS = ("table", "json", "jsonl")
GAP = 2
_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36}
_STATUSES = {
    "completed": "green", "compensated": "yellow", "running": "cyan", "compensating": "yellow", "parked": "red",
    "unreadable": "red", "terminated": "red",
}  # fmt: skip
_MARKS = {
    "✔": "green", "✖": "red", "■": "red", "!": "yellow", "↩": "yellow", "‖": "yellow", "▶": "cyan", "◇": "blue",
}  # fmt: skip
_quiet = {"on": False}
in_the_way: list[Callable[[], None]] = []
"""What clears the line on which a remark is to stand, where something is drawn there."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of rows."""

    title: str
    of: Callable[[TableRow], str]
    """The whole value, as it is piped."""
    least: int = 0
    """To what width it may be cut on a terminal; 0 for never."""
    id: bool = False
    """Whether the first characters stand for all of it: then they are shown without a mark, and it is cut first."""
    colour: Callable[[TableRow], str] = lambda _: ""
    shown: Callable[[TableRow], str] | None = None
    """What stands for the value on a terminal, where that is not the value itself."""

    def cell(self, row: TableRow) -> str:
        """As it stands on a terminal, before it is cut."""
        return on_one_line((self.shown or self.of)(row))


def field(name: str) -> Callable[[TableRow], str]:
    """The value of this name; nothing where there is none."""
    return lambda row: "" if row.get(name) is None else str(row[name])


def status_colour(row: TableRow) -> str:
    """The colour of a saga's status, which the word says as well."""
    return _STATUSES.get(str(row.get("status", "")), "")


# --- telling ----------------------------------------------------------------------------------------------------------


def format_named(output: str) -> str:
    """The output format; raises UsageError for one that there is not."""
    if output not in FORMATS:
        raise UsageError(*unknown(f"There is no output format {output!r}.", output, FORMATS))
    return output


def tell_rows(rows: Sequence[TableRow], columns: Sequence[Column], shape: str, *, none: str) -> None:
    """Print rows in this format; `none` is said on stderr where there are none."""
    if shape == "json":
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    elif shape == "jsonl":
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    else:
        for line in table(rows, columns) if is_terminal(sys.stdout) else piped(rows, columns):
            print(line)
    if not rows:
        remark(none)


def tell_value(value: TableRow, shape: str) -> None:
    """Print one thing as JSON; on one line for `jsonl`."""
    print(json.dumps(value, indent=1 if shape == "json" else None, ensure_ascii=False))


def tell_lines(lines: Iterable[str]) -> None:
    """Print sentences, which may repeat what others have said; the mark that one begins with has its colour."""
    for line in map(on_one_line, lines):
        mark = line.lstrip()[:1]
        print(line.replace(mark, styled(mark, _MARKS.get(mark, "")), 1) if mark else line, flush=True)


def remark(sentence: str) -> None:
    """Say on stderr what is no part of the answer, unless nobody wants to hear it."""
    if not is_quiet():
        for clear in tuple(in_the_way):
            clear()
        print(sentence, file=sys.stderr)


def be_quiet(quiet: bool) -> None:
    """No progress and no remarks from now on."""
    _quiet["on"] = quiet


def is_quiet() -> bool:
    """Whether only the answer is wanted, and errors."""
    return _quiet["on"]


# --- tables -----------------------------------------------------------------------------------------------------------


def piped(rows: Iterable[TableRow], columns: Sequence[Column]) -> Iterable[str]:
    """A line for each row: whole values, separated by tabs."""
    for row in rows:
        yield "\t".join(on_one_line(column.of(row)) for column in columns)


def table(rows: Sequence[TableRow], columns: Sequence[Column], width: int = 0) -> Iterable[str]:
    """A header and a line for each row, none wider than the terminal."""
    width = width or shutil.get_terminal_size().columns
    cells = [[column.cell(row) for column in columns] for row in rows]
    widths = _fitted(columns, cells, width)
    shown = [index for index, one in enumerate(widths) if one]
    if rows:
        titles = [columns[index].title for index in shown]
        yield _line([_fit(title, widths[index]) for title, index in zip(titles, shown, strict=True)], width, "bold")
    for row, its in zip(rows, cells, strict=True):
        fitted = [_fit(its[index], widths[index], columns[index]) for index in shown]
        coloured = [styled(text, columns[index].colour(row)) for text, index in zip(fitted, shown, strict=True)]
        yield _line(coloured, width) if sum(widths) <= width else _line(fitted, width)


def on_one_line(value: str) -> str:
    """No value may begin a line or a column, or speak to the terminal."""
    return "".join(one if one.isprintable() else " " for one in value)


def _fitted(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """How wide each column is: all of it where there is room; else those without a value go, then what may be cut is,
    ids first, then whatever is widest."""
    widths = [max(map(cell_len, [column.title, *its])) for column, its in zip(columns, _turned(cells), strict=False)]
    if _whole(widths) > width:
        widths = [one if any(its) else 0 for one, its in zip(widths, _turned(cells), strict=True)]
    for ids in (True, False):
        while _whole(widths) > width:
            over = [i for i, one in enumerate(columns) if one.least and one.id == ids and widths[i] > one.least]
            if not over:
                break
            widths[max(over, key=lambda index: widths[index])] -= 1
    return widths


def _turned(cells: Sequence[Sequence[str]]) -> Iterable[Sequence[str]]:
    return zip(*cells, strict=True)


def _whole(widths: Sequence[int]) -> int:
    shown = [one for one in widths if one]
    return sum(shown) + GAP * (len(shown) - 1)


def _fit(text: str, width: int, column: Column | None = None) -> str:
    if cell_len(text) <= width or (column and column.id):
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"


def _line(cells: Sequence[str], width: int, style: str = "") -> str:
    line = (" " * GAP).join(cells).rstrip()
    if "\x1b" not in line and cell_len(line) > width:  # a terminal narrower than the least of all columns
        line = set_cell_size(line, max(width - 1, 0)) + "…"
    return styled(line, style)


# --- colours ----------------------------------------------------------------------------------------------------------


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads it."""
    return stream.isatty()


def coloured(stream: TextIO) -> bool:
    """Whether colours are wanted there: NO_COLOR and FORCE_COLOR say it, else it is a terminal that has them."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (is_terminal(stream) and os.environ.get("TERM") != "dumb")


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """The text in this colour, where colours are wanted."""
    code = _CODES.get(style)
    return f"\x1b[{code}m{text}\x1b[0m" if code and text and coloured(stream or sys.stdout) else text


def age(name: str, now: float) -> Callable[[TableRow], str]:
    """How old at this moment is what was at the time of this name; nothing where there is none."""
    return lambda row: ago(now - datetime.fromisoformat(row[name]).timestamp()) if row[name] else ""


def ago(seconds: float) -> str:
    """An age for people: its greatest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
