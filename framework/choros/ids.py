"""Identifiers: fresh ones (UUIDv7) and derived ones (UUIDv8), RFC 9562."""

from __future__ import annotations

import hashlib
import os
import time
import uuid

_pool: list[bytes] = []
os.register_at_fork(after_in_child=_pool.clear)  # a child must not give out the ids of its parent


def _random_bytes() -> bytes:
    """Ten bytes; the system is asked for many at once."""
    try:
        return _pool.pop()
    except IndexError:
        block = os.urandom(2560)
        _pool.extend(block[start : start + 10] for start in range(10, 2560, 10))
        return block[:10]


def fresh_id() -> str:
    """A UUIDv7 as text: unique, and increasing with time to the millisecond."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(_random_bytes(), "big")
    value = (milliseconds << 80) | random
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def derived_id(*parts: str) -> str:
    """The same id for the same parts, on every machine: 128 bits of SHA-256, as UUIDv8 text."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()[:16]
    value = int.from_bytes(digest, "big")
    value = (value & ~(0xF << 76)) | (0x8 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def saga_id_for(saga: str, key: str) -> str:
    """The id of the one saga instance that this start key stands for."""
    return derived_id("choros.saga", saga, key)
