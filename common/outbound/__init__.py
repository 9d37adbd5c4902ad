"""The one outbound door: every connection to an address that a user supplied is opened here, and nowhere else."""

from common.outbound.addresses import Policy, check_url, origin_of
from common.outbound.connection import Timeouts
from common.outbound.door import Door, Reply, Resolver, Route, StreamedReply
from common.outbound.errors import (
    OutboundBadAnswer,
    OutboundClosed,
    OutboundError,
    OutboundNotSent,
    OutboundRefused,
    OutboundTimeout,
    OutboundTooLarge,
    OutboundUnreachable,
    OutboundWrongType,
)

__all__ = [
    "Door",
    "OutboundBadAnswer",
    "OutboundClosed",
    "OutboundError",
    "OutboundNotSent",
    "OutboundRefused",
    "OutboundTimeout",
    "OutboundTooLarge",
    "OutboundUnreachable",
    "OutboundWrongType",
    "Policy",
    "Reply",
    "Resolver",
    "Route",
    "StreamedReply",
    "Timeouts",
    "check_url",
    "origin_of",
]
