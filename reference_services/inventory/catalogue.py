"""What the shop has in stock when it opens. It depends on the article alone, so that every run refuses the same."""

from __future__ import annotations

import zlib

PLENTY = 1_000_000_000
_DISCONTINUED_PER_MILLE = 22


def discontinued(article: str) -> bool:
    """Whether the article is not sold any more: one in fifty or so, hence about one order in twenty."""
    return zlib.crc32(f"catalogue/{article}".encode()) % 1000 < _DISCONTINUED_PER_MILLE


def opening_stock(article: str) -> int:
    """How many pieces there are at first."""
    return 0 if discontinued(article) else PLENTY
