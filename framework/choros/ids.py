"""Identifiers: fresh ones (UUIDv7) and derived ones (UUIDv8), RFC 9562."""

from __future__ import annotations

import hashlib
import uuid

from choros.sources import source


def fresh_id() -> str:
    """A UUIDv7 as text: unique, and increasing with time to the millisecond."""
    given = source.get()
    milliseconds = int(given.now() * 1000)
    random = int.from_bytes(given.ten_bytes(), "big")
    value = (milliseconds << 80) | random
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def fresh_identity() -> str:
    """What tells a store from every other one: short enough for a queue's name."""
    return fresh_id()[-12:]


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


def rerun_id_for(saga_id: str) -> str:
    """The id of the one instance that this one can be run again as."""
    return derived_id("choros.rerun", saga_id)
