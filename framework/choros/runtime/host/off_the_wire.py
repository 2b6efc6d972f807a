"""What comes off the wire: read, whatever is in it, and told apart by the way that it came."""

from choros.errors import MessageRejected
from choros.transport.port import Delivery
from choros.transport.topology import Names
from choros.wire.envelope import Envelope, Wire


def read_envelope(message: Delivery | Wire) -> Envelope:
    """Decode a message; whatever a hostile one makes the decoder raise counts as a rejection."""
    try:
        return message.read()
    except MessageRejected:
        raise
    except Exception as error:
        raise MessageRejected(f"The message cannot be read ({type(error).__name__}).") from None


def is_fanned_out(exchange: str, source: str, names: Names) -> bool:
    """Whether a fact came the way of facts; raises MessageRejected where that is the way of another publisher than its
    source. Past the publishers' own exchanges comes what is put back, and what those send who know of none."""
    if exchange == names.way_of("fact", source):
        return True
    if names.is_way_of_facts(exchange):
        raise MessageRejected(f"It came through {exchange}, which is not the way of the publisher that it names.")
    return exchange in (names.facts, names.facts_by_type, names.retry)
