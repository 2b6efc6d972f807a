"""How full it is: what a store or a database fills is looked at before it is full, for then nothing can be written."""

from __future__ import annotations

import os
from pathlib import Path

from choros.store.sagas import Room


def room_on_disk(path: Path) -> Room | None:
    """The disk that a file lies on; None where it cannot be told."""
    try:
        found = os.statvfs(path if path.exists() else path.parent)
    except (OSError, AttributeError):
        return None
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return Room(f"The disk of {path}", used, used + found.f_bavail * found.f_frsize)
