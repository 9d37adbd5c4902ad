"""What can go wrong outside. The texts may be shown to whoever supplied the URL: none names a resolved address."""


class OutboundError(Exception):
    """Every failure of the door is one of these; `str()` is one plain sentence."""


class OutboundRefused(OutboundError):
    """We do not connect there, whatever answers. `reason` is that sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OutboundUnreachable(OutboundError):
    """No connection, or one that ended before an answer began: name, network, TLS."""


class OutboundNotSent(OutboundUnreachable):
    """The server cannot have begun to work on the request: no connection came about, or a kept one was at its end."""


class OutboundTimeout(OutboundError):
    """Too slow. `phase` is `connect`, `first_byte`, `idle` or `total`."""

    def __init__(self, phase: str) -> None:
        super().__init__(_SLOW[phase])
        self.phase = phase


class OutboundClosed(OutboundError):
    """The door was closed in the middle of it: our own end, which says nothing about the server."""


class OutboundTooLarge(OutboundError):
    """The answer passed `max_bytes`; the rest was not read."""


class OutboundBadAnswer(OutboundError):
    """An answer that is not proper HTTP, is compressed in a way that we do not read, or ends too early."""


class OutboundWrongType(OutboundBadAnswer):
    """A good answer of another type than was asked for; none of it was read."""


_SLOW = {
    "connect": "The connection was not made in time.",
    "first_byte": "The answer did not begin in time.",
    "idle": "The answer stopped in the middle.",
    "total": "The answer took too long.",
}
