"""What closes a channel, in RabbitMQ's words."""


class ChannelRefusal(Exception):
    """The broker closes the channel with this code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def not_found(what: str, name: str) -> ChannelRefusal:
    """There is no queue, or no exchange, of this name."""
    return ChannelRefusal(404, f"NOT_FOUND - no {what} '{name}' in vhost '/'")


def inequivalent(what: str, name: str) -> ChannelRefusal:
    """It exists in another form."""
    return ChannelRefusal(406, f"PRECONDITION_FAILED - inequivalent arg for {what} '{name}' in vhost '/'")


def unknown_tag(tag: int) -> ChannelRefusal:
    """Nothing of this number is out."""
    return ChannelRefusal(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")


def too_long_unsettled(channel: int) -> ChannelRefusal:
    """A delivery was not settled in time."""
    return ChannelRefusal(406, f"PRECONDITION_FAILED - delivery acknowledgement on channel {channel} timed out")


def too_late() -> ChannelRefusal:
    """A queue did not answer in time."""
    return ChannelRefusal(404, "NOT_FOUND - failed to perform operation on queue in vhost '/' due to timeout")
