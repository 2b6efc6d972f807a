"""Whether anybody is there to answer, as a queue tells it."""

from collections.abc import Awaitable, Callable

from choros.transport.port import Seen

AskQueue = Callable[[str], Awaitable[Seen]]
"""`Transport.attendance`: asks a broker who consumes a queue."""


def told(seen: Seen, service: str, queue: str) -> str:
    """What a queue says about the service behind it, in a sentence; empty where it says nothing."""
    waiting = f"{seen.waiting:,} message{'' if seen.waiting == 1 else 's'}"
    match seen.state:
        case "missing":
            return f"there is no queue {queue}: {service} has never run here, or it was deleted"
        case "silent":
            return f"the queue {queue} does not answer: its leader is away, or has no majority"
        case "untold":
            return ""
    if not seen.consumers:
        return f"nobody consumes {queue}, where {waiting} wait{'s' if seen.waiting == 1 else ''}"
    consumers = f"{queue} has {seen.consumers} consumer{'' if seen.consumers == 1 else 's'}"
    if seen.waiting:
        more = waiting.replace(" ", " more ")
        return f"{consumers}, and {more} wait: {service} is slow, or its handlers hang (choros health)"
    return f"{consumers}, and nothing waits there: its handler is at work, or hangs (choros health)"


def absent(seen: Seen) -> bool:
    """Whether nobody is there."""
    return seen.state in ("missing", "silent") or (seen.state == "there" and not seen.consumers)
