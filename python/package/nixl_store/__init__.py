"""KV-cache chunks on storage, saved by key and fetched back proven right or not at all.

    import nixl_store

    with nixl_store.Store("lmcache.yaml") as store:
        store.put("greeting", b"hello")
        print(store.get("greeting"))

The configuration is the YAML file that LMCache reads for its NIXL storage backend. ``Store`` has the blocking calls and the
batches, ``aio.AsyncStore`` the same for asyncio, ``lmcache`` what plugs into LMCache's server.

The library's messages go to the logger ``nixl_store`` of Python's ``logging``.
"""

import sys

if sys.implementation.name != "cpython":
    raise ImportError(f"nixl_store is built for CPython, and this is {sys.implementation.name}")

from . import errors  # noqa: E402
from ._native import ItemResult, Queue, Region, Results, Ticket, metrics_text, status_name  # noqa: E402
from ._native import version as __version__  # noqa: E402
from .aio import AsyncStore  # noqa: E402
from .errors import *  # noqa: E402,F401,F403
from .memory import Allocation  # noqa: E402
from .store import Capabilities, Stats, Store  # noqa: E402

__all__ = [
    "Allocation",
    "AsyncStore",
    "Capabilities",
    "ItemResult",
    "Queue",
    "Region",
    "Results",
    "Stats",
    "Store",
    "Ticket",
    "__version__",
    "metrics_text",
    "status_name",
    *errors.__all__,
]
