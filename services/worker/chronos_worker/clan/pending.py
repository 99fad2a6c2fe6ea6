"""A loader that a script makes before its clan."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

from torch.utils.data import Dataset

from chronos_common.errors import InvalidRequestError


class Loads(Protocol):
    """What of a clan makes loaders."""

    def loader(self, dataset: Dataset[Any], batch_size: int, **options: Any) -> Any:
        """Batches of a member."""
        ...


class PendingLoader:
    """Becomes ``clan.loader(dataset, batch_size, **options)`` of the next clan that its thread makes."""

    def __init__(self, dataset: Dataset[Any], batch_size: int, options: dict[str, Any]) -> None:
        self._dataset, self._batch_size, self._options = dataset, batch_size, options
        self._made: Any = None

    def attach(self, clan: Loads) -> None:
        """Its clan is there."""
        self._made = clan.loader(self._dataset, self._batch_size, **self._options)

    def __iter__(self) -> Iterator[Any]:
        if self._made is None:
            raise InvalidRequestError(
                "clan_loader() belongs to the next Clan of its thread, and none was made since; make the Clan before "
                "the first batch, or use clan.loader()"
            )
        return iter(self._made)


_waiting = threading.local()


def clan_loader(dataset: Dataset[Any], batch_size: int, **options: Any) -> PendingLoader:
    """:meth:`Clan.loader` for scripts that make their loader first: it joins the next clan of this thread.

    Args:
        dataset: map-style, with a length.
        batch_size: samples of one member in one step.
        options: for torch's ``DataLoader``.
    """
    made = PendingLoader(dataset, batch_size, options)
    _waiting.loaders = [*getattr(_waiting, "loaders", ()), weakref.ref(made)]
    return made


def attach_waiting(clan: Loads) -> None:
    """Gives a new clan the loaders that wait for one.

    Raises:
        ConfigurationError: see :class:`chronos_worker.clan.ClanLoader`.
    """
    loaders, _waiting.loaders = getattr(_waiting, "loaders", ()), []
    for each in loaders:
        if (loader := each()) is not None:
            loader.attach(clan)
