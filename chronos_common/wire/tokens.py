"""Bearer tokens: who a caller is. Only their SHA-256 is kept in memory, and comparing takes the same time always."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from chronos_common.errors import AuthenticationError, ConfigurationError
from chronos_common.runtime import get_logger
from chronos_common.wire.security import ClientSecurity
from chronos_common.wire.watched import WatchedFiles, read_file

AUTHORIZATION: Final = "authorization"
SCHEME: Final = "Bearer "
HASHED: Final = "sha256:"
MIN_TOKEN_LENGTH: Final = 16

ADMIN: Final = "admin"
WORKER: Final = "worker"
READER: Final = "reader"
ROLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ADMIN: "everything",
        WORKER: "what a worker does: register, check out, commit",
        READER: "looking: list, show, watch, verify, export",
    }
)
"""Roles, and what they are for. Which call takes which of them stands in ``access``."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_HOW_TO_MAKE: Final = "`openssl rand -hex 32` makes one"

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls: a name for logs, and what it may do."""

    name: str
    role: str


class TokenBook:
    """The tokens that a server knows, read again when their file changes.

    A line is ``ROLE NAME TOKEN``; in place of the token may stand ``sha256:`` and its hash, so that the file
    is no secret. Several tokens of one role, or one name, are what a change of tokens needs: add the new
    one, give it to the clients, remove the old one.

    Args:
        path: the file.

    Raises:
        ConfigurationError: it cannot be read, or a line of it is wrong; the token itself is never told.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = WatchedFiles([path])
        self._files.changed()
        self._callers = _parse(path)

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Who sent a call with this metadata.

        Raises:
            AuthenticationError: no token, or none that is known.
        """
        self._refresh()
        presented = [value for name, value in metadata if name == AUTHORIZATION]
        if not presented:
            raise AuthenticationError(
                "this coordinator wants a token, and the call has none: give the client --token-file "
                "(environment: CHRONOS_CLIENT__TOKEN_FILE)"
            )
        text = presented[0].decode("ascii", "replace") if isinstance(presented[0], bytes) else presented[0]
        scheme, token = text[: len(SCHEME)], text[len(SCHEME) :]
        digest = _digest(token)
        found: Caller | None = None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None or len(presented) > 1 or scheme.lower() != SCHEME.lower():
            raise AuthenticationError(
                "this coordinator does not know the token of the call: it was mistyped, removed or is another "
                "coordinator's; put a token of this one into the client's --token-file"
            )
        return found

    def _refresh(self) -> None:
        if not self._files.changed():
            return
        try:
            self._callers = _parse(self._path)
        except ConfigurationError as error:
            _log.error("new tokens cannot be used, the old ones stay", problem=str(error))
        else:
            _log.info("new tokens are in use", tokens=len(self._callers))


class ClientToken:
    """The token that a client sends, read again when its file changes.

    Args:
        security: names the file.
        address: whom it is sent to.

    Raises:
        ConfigurationError: it cannot be read, is no token, or would travel in the open.
    """

    def __init__(self, security: ClientSecurity, address: str) -> None:
        self._path = security.token_file
        self._files = WatchedFiles([] if self._path is None else [self._path])
        self._metadata: tuple[tuple[str, str], ...] = ()
        in_the_open = not (security.tls or security.token_without_tls or is_loopback(address))
        if self._path is not None and in_the_open:
            raise ConfigurationError(
                f"the token would travel to {address} where others can read it: give --tls-ca, or "
                "--token-without-tls where something else encrypts the connection"
            )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What to send with a call."""
        if self._path is not None and self._files.changed():
            token = read_file(self._path, "token file").decode("utf-8", "replace").strip()
            if not _TOKEN.fullmatch(token):
                raise ConfigurationError(
                    f"the token file {self._path} must hold one token and nothing else; {_HOW_TO_MAKE}"
                )
            self._metadata = ((AUTHORIZATION, SCHEME + token),)
        return self._metadata


def is_loopback(address: str) -> bool:
    """Whether ``host`` or ``host:port`` is this machine, reached without a network; ``unix:`` sockets are."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0] if address.count(":") == 1 or address.startswith("[") else address
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _parse(path: Path) -> tuple[tuple[bytes, Caller], ...]:
    text = read_file(path, "token file").decode("utf-8", "replace")
    known: dict[bytes, Caller] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"line {number} of the token file {path}"
        if len(words) != 3:
            raise ConfigurationError(f"{where} must be ROLE NAME TOKEN, such as: worker pool-a <token>")
        role, name, token = words
        if role not in ROLES:
            raise ConfigurationError(f"{where} names a role that there is not; there are {', '.join(ROLES)}")
        digest = _stored_digest(token, where)
        if digest in known:
            raise ConfigurationError(f"{where} repeats a token; each line needs its own ({_HOW_TO_MAKE})")
        known[digest] = Caller(name=name, role=role)
    if not known:
        raise ConfigurationError(f"the token file {path} holds no token: nobody could call; {_HOW_TO_MAKE}")
    return tuple(known.items())


def _stored_digest(token: str, where: str) -> bytes:
    if token.startswith(HASHED):
        try:
            digest = bytes.fromhex(token.removeprefix(HASHED))
        except ValueError:
            digest = b""
        if len(digest) != hashlib.sha256().digest_size:
            raise ConfigurationError(f"{where} holds no SHA-256 after {HASHED}: it has 64 hexadecimal digits")
        return digest
    if len(token) < MIN_TOKEN_LENGTH or not _TOKEN.fullmatch(token):
        raise ConfigurationError(
            f"{where} holds a token that is too short or has characters that none may have; {_HOW_TO_MAKE}"
        )
    return _digest(token)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
