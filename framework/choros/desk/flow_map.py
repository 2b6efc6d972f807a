"""Who publishes and who listens to what, in words, as JSON, and drawn: mermaid, and SVG without anything beside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from choros.desk.hearsay import Hearer, Hearsay, Speaker

NOBODY = "nobody here"


def map_lines(map_: Hearsay) -> Iterator[str]:
    """Three lines or more for each type of fact."""
    for fact in map_.facts:
        yield fact
        speakers = _speakers(map_.speakers.get(fact, ()))
        yield from _listed("published by", [f"{name}{_when(said)}" for name, said in speakers.items()])
        yield from _listed("heard by", [f"{one.name}{_and_then(one)}" for one in map_.hearers.get(fact, ())])
    yield from [] if map_.facts else ["nothing is published, and nobody listens"]


def map_data(map_: Hearsay) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "fact": fact,
            "published_by": [{"name": one.name, "when": one.when} for one in map_.speakers.get(fact, ())],
            "heard_by": [
                {
                    "name": one.name,
                    "with": list(one.beside),
                    "undoes": one.undoes,
                    "publishes": list(one.answers),
                    "sagas": list(one.sagas),
                }
                for one in map_.hearers.get(fact, ())
            ],
        }
        for fact in map_.facts
    ]


def _listed(what: str, names: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(names or [NOBODY]):
        yield f"  {'' if number else what:<13} {name}"


def _speakers(said: Iterable[Speaker]) -> dict[str, list[str]]:
    """When each says it."""
    by_name: dict[str, list[str]] = {}
    for one in said:
        by_name.setdefault(one.name, []).append(one.when)
    return by_name


def _when(said: Sequence[str]) -> str:
    return f", {' and '.join(filter(None, said))}" if any(said) else ""


def _and_then(one: Hearer) -> str:
    publishes = f"publishes {' or '.join(one.answers)}{' or nothing' if one.silent else ''}" if one.answers else ""
    undoes = f"takes back {one.undoes}" if one.undoes else ""
    sagas = f"for saga {', '.join(one.sagas)}" if one.sagas else ""
    beside = f"once there is {' and '.join(one.beside)}" if one.beside else ""
    return "".join(f", {part}" for part in (beside, undoes, publishes, sagas) if part)


# --- drawn ------------------------------------------------------------------------------------------------------------


def map_mermaid(map_: Hearsay) -> str:
    """A flowchart: facts as flags, and dotted arrows, since nobody tracks who hears them."""
    numbers: dict[str, str] = {}
    lines: list[str] = []
    for number, fact in enumerate(map_.facts, 1):
        lines.append(f"f{number}>{_quoted(fact)}]")
        for name in _speakers(map_.speakers.get(fact, ())):
            lines.append(f"{_node(numbers, name, lines)} -.-> f{number}")
        for one in map_.hearers.get(fact, ()):
            word = f"|{_quoted(f'takes back {one.undoes}')}|" if one.undoes else ""
            lines.append(f"f{number} -.->{word} {_node(numbers, one.name, lines)}")
    return "\n".join(["flowchart LR", *(f"    {line}" for line in lines)]) + "\n"


def _node(numbers: dict[str, str], name: str, lines: list[str]) -> str:
    """Its name in the picture; drawn where it is met first."""
    if name not in numbers:
        numbers[name] = f"n{len(numbers) + 1}"
        lines.append(f"{numbers[name]}[{_quoted(name)}]")
    return numbers[name]


def _quoted(text: str) -> str:
    return f'"{escape(text, quote=True)}"'


_ROW, _TALL, _LETTER, _PAD, _GAP = 40, 26, 7.3, 12, 90
"""Of the picture, in pixels: from one row to the next, a box, the width of a letter, around it, between columns."""
_STYLE = (
    "text{font:12px ui-monospace,monospace;fill:#1b1f24}rect{stroke:#57606a}.who{fill:#f6f8fa}.fact{fill:#ddf4ff}"
    "path{fill:none;stroke:#57606a;stroke-dasharray:3 3}.alone{stroke:#9a6700;stroke-width:2}"
)


@dataclass(frozen=True, slots=True)
class _MapColumn:
    """Boxes one below the other."""

    names: Sequence[str]
    left: float
    kind: str
    alone: frozenset[str] = frozenset()

    @property
    def width(self) -> float:
        return max(map(len, self.names), default=0) * _LETTER + 2 * _PAD

    @property
    def right(self) -> float:
        return self.left + self.width

    def y(self, name: str) -> float:
        return _PAD + self.names.index(name) * _ROW + _TALL / 2

    def drawn(self) -> Iterator[str]:
        for name in self.names:
            kind, top = f"{self.kind}{' alone' if name in self.alone else ''}", self.y(name) - _TALL / 2
            size = f'width="{self.width:.1f}" height="{_TALL}" rx="{0 if self.kind == "fact" else 6}"'
            yield f'<rect class="{kind}" x="{self.left:.1f}" y="{top:.1f}" {size}/>'
            yield f'<text x="{self.left + _PAD:.1f}" y="{self.y(name) + 4:.1f}">{escape(name)}</text>'


def map_svg(map_: Hearsay) -> str:
    """Who publishes on the left, what in the middle, who hears it on the right; who does both stands on both sides.
    A fact that nobody here publishes, or nobody hears, has a thicker line."""
    heard = {fact: [one.name for one in hearers] for fact, hearers in map_.hearers.items()}
    said = {fact: list(_speakers(speakers)) for fact, speakers in map_.speakers.items()}
    alone = frozenset(fact for fact in map_.facts if fact not in heard or fact not in said)
    left = _MapColumn(_names(said, map_.facts), _PAD, "who")
    middle = _MapColumn(map_.facts, left.right + _GAP, "fact", alone)
    right = _MapColumn(_names(heard, map_.facts), middle.right + _GAP, "who")
    arrows = [_arrow(left, name, middle, fact) for fact in map_.facts for name in said.get(fact, ())]
    arrows += [_arrow(middle, fact, right, name) for fact in map_.facts for name in heard.get(fact, ())]
    rows = max(map(len, (left.names, middle.names, right.names)))
    parts = [*arrows, *left.drawn(), *middle.drawn(), *right.drawn()]
    return _svg(right.right + _PAD, rows * _ROW + _PAD, f"Who publishes and who listens in {map_.namespace}", parts)


def _names(by_fact: Mapping[str, Sequence[str]], facts: Sequence[str]) -> list[str]:
    """In the order of the facts, so that few arrows cross."""
    return list(dict.fromkeys(name for fact in facts for name in by_fact.get(fact, ())))


def _arrow(of: _MapColumn, name: str, to: _MapColumn, other: str) -> str:
    x, y, x2, y2 = of.right, of.y(name), to.left, to.y(other)
    half = (x + x2) / 2
    return f'<path d="M{x:.1f} {y:.1f}C{half:.1f} {y:.1f} {half:.1f} {y2:.1f} {x2:.1f} {y2:.1f}" marker-end="url(#a)"/>'


def _svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        f' height="{height:.0f}" role="img" aria-labelledby="t"><title id="t">{escape(title)}</title>'
        f"<style>{_STYLE}</style>"
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8" style="stroke-dasharray:none"/></marker></defs>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"
