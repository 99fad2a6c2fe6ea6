"""The stores of ``torch.distributed``, by the names that its type stubs know."""

from __future__ import annotations

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

__all__ = ["PrefixStore", "Store", "TCPStore"]
