"""Errors of availability: the same call may succeed later."""

from __future__ import annotations

from chronos_common.errors.base import ChronosError


class UnavailableError(ChronosError):
    """The service cannot answer now; the same request may succeed later."""

    reason = "UNAVAILABLE"


class DrainingError(UnavailableError):
    """The service is shutting down and takes no new work."""

    reason = "DRAINING"


class WaitExpiredError(UnavailableError):
    """A checkout waited until its deadline without a version to hand out."""

    reason = "WAIT_EXPIRED"


class PeersLostError(UnavailableError):
    """The collectives of an epoch cannot be finished; the living go on in the next one."""

    reason = "PEERS_LOST"


class UnreachableError(UnavailableError):
    """Nobody answered for as long as the caller was told to try."""

    reason = "UNREACHABLE"


class OverloadedError(UnavailableError):
    """Admission control: more bytes or requests in flight than the service takes."""

    reason = "OVERLOADED"
