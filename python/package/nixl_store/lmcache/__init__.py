"""What plugs into LMCache's multi-process server, as an L2 adapter.

``Connector`` is for adapters of the type ``native_plugin``, ``Adapter`` for those of the type ``plugin``::

    lmcache server ... --l2-adapter '{"type": "plugin", "module_path": "nixl_store.lmcache", "class_name": "Adapter",
        "adapter_params": {"nixl_backend": "POSIX", "nixl_path": "/mnt/nvme/kv", "nixl_pool_size": 4096,
                           "nixl_store_chunk_bytes": 33554432, "use_direct_io": true}}'

Both serve the same chunks under the same keys. ``Adapter`` does more: LMCache's locks are pins, so that what was looked up is
there when it is loaded; usage and health are the store's own; and no thread of Python stands between. ``Connector`` needs
nothing of LMCache's to be imported.
"""

from typing import TYPE_CHECKING, Any

from .connector import Connector

if TYPE_CHECKING:
    from .adapter import Adapter

__all__ = ["Adapter", "Connector"]


def __getattr__(name: str) -> Any:
    # The adapter is a subclass of a class of LMCache's, so it is imported where LMCache is there to ask for it.
    if name == "Adapter":
        from .adapter import Adapter

        return Adapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
