"""Access: who asks is unknown or may not, or the two sides cannot trust each other."""

from __future__ import annotations

from chronos_common.errors.base import ChronosError


class AccessError(ChronosError):
    """A call that was turned away before anybody looked at what it asks for; state is unchanged."""

    reason = "NO_ACCESS"


class TlsError(AccessError):
    """No connection: certificates that do not fit, or one side speaks TLS and the other does not."""

    reason = "TLS_FAILED"


class AuthenticationError(AccessError):
    """A call without a token, or with one that the coordinator does not know."""

    reason = "UNAUTHENTICATED"


class PermissionDeniedError(AccessError):
    """A call that the role of its token does not cover."""

    reason = "PERMISSION_DENIED"
