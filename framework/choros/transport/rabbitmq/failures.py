"""What the first connection can fail with, as our own errors."""

import asyncio
import ssl

from aiormq import exceptions as amqp
from yarl import URL

from choros.errors import BrokerMisconfigured, BrokerUnreachable, ChorosError, shown

CONNECTION_FAILURES = (amqp.AMQPError, OSError, TimeoutError, RuntimeError, EOFError, StopAsyncIteration)
"""Whatever aio-pika and aiormq raise when a connection or channel is not, or no longer, to be had. (The last one: the
stream has ended in the middle of the handshake. It must not leave an async generator, which would hide it.)"""
_NOT_ALLOWED, _REFUSED = 530, 403


def explained(failure: BaseException, address: URL, closed_with: int = 0) -> ChorosError:
    """The error for a first connection that failed with this, and that the broker has closed with this code."""
    where = shown(str(address))
    if closed_with not in (0, _NOT_ALLOWED, _REFUSED):  # it may be about to end
        return BrokerUnreachable(f"The broker at {where} closed the connection ({closed_with}).", "try again later.")
    if isinstance(failure, (amqp.ProbableAuthenticationError, amqp.AuthenticationError)):
        return BrokerMisconfigured(
            f"The broker at {where} refuses this user or password.",
            "check both; the user 'guest' is only accepted from the broker's own machine.",
        )
    if _is_virtual_host_refused(failure):
        return BrokerMisconfigured(
            f"The broker at {where} has no such virtual host, or this user may not enter it.",
            "rabbitmqctl add_vhost, then rabbitmqctl set_permissions.",
        )
    if isinstance(failure.__cause__, ssl.SSLCertVerificationError):
        return BrokerMisconfigured(
            f"The certificate of the broker at {where} is not trusted.", "name your CA: ?cafile=/path/ca.pem"
        )
    if isinstance(failure, (amqp.IncompatibleProtocolError, amqp.ProtocolSyntaxError)):
        return BrokerMisconfigured(f"What answers at {where} does not speak AMQP 0-9-1.", "check the port.")
    return BrokerUnreachable(f"The broker at {where} does not answer ({_why(failure)}).", "is it running there?")


def _is_virtual_host_refused(failure: BaseException) -> bool:
    # aiormq 7.2 reports the broker's Connection.Close as an unexpected frame here, without the code
    closed_instead = isinstance(failure, amqp.InvalidFrameError) and "Connection.Close" in str(failure)
    return closed_instead or isinstance(failure, amqp.ConnectionNotAllowed) or failure.args[:1] == (_NOT_ALLOWED,)


def _why(failure: BaseException) -> str:
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    if isinstance(failure, (amqp.ConnectionClosed, StopAsyncIteration)):
        return "it closed the connection"
    cause = failure.__cause__ or failure
    if isinstance(cause, asyncio.CancelledError):  # how aiormq ends its own work once it knows the failure
        cause = failure
    return cause.strerror or type(cause).__name__ if isinstance(cause, OSError) else type(cause).__name__
