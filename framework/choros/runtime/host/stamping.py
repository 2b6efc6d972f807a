"""Puts the headers on a message that those who declared it want on it."""

from collections.abc import Iterable

from choros.app.sending import SentMessage, Stamp
from choros.callables import name_of
from choros.telemetry.logs import get_logger
from choros.values import replace
from choros.wire.envelope import Envelope
from choros.wire.own_headers import read, written

log = get_logger(__name__)


def stamped(envelope: Envelope, stamps: Iterable[Stamp]) -> Envelope:
    """The message with the headers that these say, each hearing of those before it. Where one fails, it is left as it
    was, and named in the log: a message that is decided must be sent."""
    for stamp in stamps:
        try:
            own = written(stamp(_sent(envelope)))
        except Exception as error:
            log.error("choros.sends.failed", function=name_of(stamp), type=envelope.type, error=error)
        else:
            envelope = replace(envelope, own_headers=own)
    return envelope


def _sent(envelope: Envelope) -> SentMessage:
    said = envelope.type, envelope.data, envelope.to, envelope.subject
    return SentMessage(envelope.kind, *said, read(envelope.own_headers))
