"""Memory of the store's own, and memory that is registered with it."""

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store import Store

__all__ = ["Allocation"]


class Allocation:
    """Memory borrowed from the store's staging buffer: page-aligned and registered, so that transfers need no copy.

    ``memory`` is a writable memoryview of it. Give it back with :meth:`free`, or by leaving a ``with`` block; it is gone when
    the store is closed, and must not be touched after either. With ``nixl_buffer_device: cuda`` it is device memory: use
    ``address`` then, in a :class:`nixl_store.Region`, and not ``memory``.
    """

    __slots__ = ("_store", "address", "length", "_view")

    def __init__(self, store: "Store", address: int, length: int) -> None:
        self._store = store
        self.address = address
        self.length = length
        # A memoryview of a ctypes array is one of items of the format "<B"; a cast makes them plain bytes.
        self._view = memoryview((ctypes.c_ubyte * length).from_address(address)).cast("B")

    @property
    def memory(self) -> memoryview:
        """The bytes."""
        return self._view

    def free(self) -> None:
        """Gives the memory back, after waiting for the transfers that use it. Doing it again does nothing."""
        if self.address:
            self._view.release()
            address, self.address = self.address, 0
            self._store._free(address)

    def __len__(self) -> int:
        return self.length

    def __enter__(self) -> memoryview:
        return self._view

    def __exit__(self, *_: object) -> None:
        self.free()


def address_of(memory: Any) -> tuple[int, int, Any]:
    """Address and length of a writable buffer or a Region, and what keeps it where it is."""
    from ._native import Region

    if isinstance(memory, Region):
        return memory.address, memory.length, memory
    view = memoryview(memory).cast("B")
    held = ctypes.c_ubyte.from_buffer(view)
    return ctypes.addressof(held), view.nbytes, (held, view)


Registrations = dict[int, Any]
