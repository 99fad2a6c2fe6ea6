"""A client's copy of the published value: snapshots replace it, deltas are added to it, digests prove it."""

from __future__ import annotations

from collections.abc import Sequence

from chronos_common.codec import decode
from chronos_common.compression import apply_delta
from chronos_common.engine.views import VersionPart
from chronos_common.errors import DigestMismatchError
from chronos_common.outer import OuterSpec, clip
from chronos_common.tensors import Array, Arrays, digest


class Replica:
    """What a client holds of a run, in stored coordinates.

    Args:
        specs: the run's outer parameters.
    """

    def __init__(self, specs: Sequence[OuterSpec]) -> None:
        self._specs = tuple(specs)
        self._version: int | None = None
        self._values: dict[str, Array] = {}
        self._digest = ""

    @property
    def version(self) -> int | None:
        """The version whose values are here, or ``None``: what to check out from."""
        return self._version

    def forget(self) -> None:
        """The next checkout brings a snapshot."""
        self._version, self._values, self._digest = None, {}, ""

    def take(self, version: int, expected: str, parts: Sequence[VersionPart]) -> Arrays:
        """The values of a checkout; they are never written to.

        Args:
            version: that was handed out.
            expected: its digest.
            parts: of the answer, in order; none when the values are those that are held.

        Raises:
            PayloadError: they are damaged, do not fit, or do not lead to the digest. Nothing is kept then, so
                that the next checkout brings a snapshot.
        """
        held, self._version = self._version, None
        try:
            self._apply(held, version, parts)
            if self._digest != expected:
                raise DigestMismatchError(
                    f"the values of version {version} do not have its digest; they will be fetched again, whole",
                    version=version,
                )
        finally:
            found = self._values, self._digest
            self.forget()
        self._version, (self._values, self._digest) = version, found
        return self._values

    def _apply(self, held: int | None, version: int, parts: Sequence[VersionPart]) -> None:
        if held is None and not (parts and not parts[0].is_delta):
            raise DigestMismatchError(
                f"version {version} came without a snapshot to a client that holds nothing", version=version
            )
        specs = [spec.tensor for spec in self._specs]
        for part in parts:
            if part.is_delta:
                self._values = apply_delta(self._values, part.payload, lambda a: clip(a, self._specs))
            else:
                self._values = decode(part.payload, specs=specs)
        if parts:
            self._digest = digest(self._values)
