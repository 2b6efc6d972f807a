"""What is counted on the wire is what came, in whatever pieces; a count of what did not come would prove nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.frames import LARGEST_FRAME, Frames
from tests.transport.strangers import content, deliver, flagged, method, short

PLAIN = flagged(0, b"")
BLOCKED = method(0, 10, 60, short(b"low on memory"))
RETURN = method(1, 60, 50, b"\x01\x38" + short(b"NO_ROUTE") + short(b"shop.facts") + short(b"key")) + content(1, PLAIN)
NACK = method(1, 60, 120, b"\0" * 8 + b"\0")
ACK = method(1, 60, 80, b"\0" * 8 + b"\0")
LARGE = deliver(1, b"shop.facts", b"key", PLAIN, b"x" * (2 * LARGEST_FRAME))
JUST = deliver(1, b"shop.facts", b"key", PLAIN, b"x" * (LARGEST_FRAME - 8))


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_what_comes_in_pieces_is_counted_once(size: int) -> None:
    stream = BLOCKED + RETURN + ACK + NACK + LARGE + JUST + NACK
    counts: Counter[str] = Counter()
    frames = Frames(counts)
    for at in range(0, len(stream), size):
        frames.feed(stream[at : at + size])
    assert counts == {"blocked": 1, "return": 1, "nack": 2, "oversized": 1}


def test_what_is_in_a_body_is_no_frame() -> None:
    counts: Counter[str] = Counter()
    Frames(counts).feed(deliver(1, b"shop.facts", b"key", PLAIN, NACK))
    assert not counts
