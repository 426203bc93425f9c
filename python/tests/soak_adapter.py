"""The target of the soak for LMCache's type ``plugin``. Needs LMCache."""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from lmcache.v1.distributed.l2_adapters import create_l2_adapter
from lmcache.v1.distributed.l2_adapters.config import get_l2_adapter_config_class
from lmcache.v1.memory_management import MemoryFormat, MemoryObj, MemoryObjMetadata, TensorMemoryObj
from lmcache.v1.platform import consume_fd

from .lmcache_objects import bits, object_key
from .soak import Ends


def memory_object(memory: bytearray) -> MemoryObj:
    """A memory object over these bytes."""
    raw = torch.frombuffer(memory, dtype=torch.uint8)
    shape = torch.Size([len(memory)])
    metadata = MemoryObjMetadata(
        shape=shape,
        dtype=torch.uint8,
        address=ctypes.addressof(ctypes.c_char.from_buffer(memory)),
        phy_size=len(memory),
        ref_count=1,
        fmt=MemoryFormat.BINARY_BUFFER,
        shapes=[shape],
        dtypes=[torch.uint8],
    )
    return TensorMemoryObj(raw, metadata, parent_allocator=None)


class Plugin:
    """``Adapter``, driven as LMCache's controllers do: each lookup is followed by an unlock."""

    def __init__(self, settings: dict[str, Any]) -> None:
        spec = {"module_path": "nixl_store.lmcache", "class_name": "Adapter", "adapter_params": settings}
        self.adapter: Any = create_l2_adapter(get_l2_adapter_config_class("plugin").from_dict(spec))
        self.store = self.adapter.store
        self.descriptors = [
            self.adapter.get_store_event_fd(),
            self.adapter.get_lookup_and_lock_event_fd(),
            self.adapter.get_load_event_fd(),
        ]
        # By kind, as the numbers of the three kinds are counted apart.
        self._waiting: dict[str, list[int]] = {"lookup": [], "load": []}

    def drain(self, ends: Ends) -> None:
        for descriptor in self.descriptors:
            consume_fd(descriptor)
        for number, result in self.adapter.pop_completed_store_tasks().items():
            ends.put(3 * number, (result.is_successful(), None))
        for place, kind, query in (
            (1, "lookup", self.adapter.query_lookup_and_lock_result),
            (2, "load", self.adapter.query_load_result),
        ):
            for number in list(self._waiting[kind]):
                bitmap = query(number)
                if bitmap is not None:
                    self._waiting[kind].remove(number)
                    ends.put(3 * number + place, (True, bits(bitmap, len(bitmap))))
        # A task may have completed between its submit and its being waited for here: look again soon.
        if any(self._waiting.values()):
            self.adapter._lookups.queue.wake()

    def put(self, ends: Ends, keys: Sequence[str], memory: Sequence[bytearray]) -> bool:
        return ends.take(3 * self.adapter.submit_store_task(self._keys(keys), [memory_object(one) for one in memory]))[0]

    def get(self, ends: Ends, keys: Sequence[str], memory: Sequence[bytearray]) -> list[bool]:
        number = self.adapter.submit_load_task(self._keys(keys), [memory_object(one) for one in memory])
        self._wait_for("load", number)
        return ends.take(3 * number + 2)[1] or []

    def lookup(self, ends: Ends, keys: Sequence[str]) -> list[bool]:
        number = self.adapter.submit_lookup_and_lock_task(self._keys(keys), {})
        self._wait_for("lookup", number)
        found = ends.take(3 * number + 1)[1] or []
        self.adapter.submit_unlock([key for key, hit in zip(self._keys(keys), found) if hit])
        return found

    def delete(self, ends: Ends, keys: Sequence[str]) -> None:
        self.adapter.delete(self._keys(keys))

    def close(self) -> None:
        self.adapter.close()

    def _wait_for(self, kind: str, number: int) -> None:
        self._waiting[kind].append(number)
        self.adapter._lookups.queue.wake()

    @staticmethod
    def _keys(names: Sequence[str]) -> list[Any]:
        return [object_key(int(name.rsplit("@", 1)[1], 16)) for name in names]
