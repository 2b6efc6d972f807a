"""How long a client waits."""

from datetime import timedelta

from choros.errors import UsageError


def seconds_of(timeout: object) -> float:
    """A time to wait; raises UsageError for what is none."""
    if not isinstance(timeout, timedelta) or timeout < timedelta(0):
        raise UsageError(f"timeout={timeout!r} is no timedelta of zero or more.", "timedelta(seconds=30), for example.")
    return timeout.total_seconds()
