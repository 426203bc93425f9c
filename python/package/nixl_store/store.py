"""The store."""

import atexit
import os
import weakref
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Optional, Union

from . import _native
from ._native import Results
from .memory import Allocation, Registrations, address_of
from .settings import settings_text

__all__ = ["Capabilities", "Stats", "Store"]


class Stats(NamedTuple):
    """Gauges and counters of a store. Counters are totals since it was opened; each is exact, together they are no one instant."""

    keys: int
    """Gauge: keys stored now, as far as this process knows."""
    bytes_stored: int
    """Gauge, bytes: payload stored now; in a dynamic store and in a bucket whole files or objects."""
    slots: int
    """Gauge: slots of a static pool; 0 if the store is dynamic."""
    slots_free: int
    """Gauge: slots that hold nothing."""
    capacity_bytes: int
    """Gauge, bytes: capacity; 0: unlimited."""
    keys_pinned: int
    """Gauge: keys pinned by this process."""
    items_in_flight: int
    """Gauge: items waiting or under way."""
    puts_ok: int
    """Counter: puts that completed."""
    puts_failed: int
    """Counter: puts that failed."""
    gets_hit: int
    """Counter: gets that delivered bytes."""
    gets_missed: int
    """Counter: gets that found nothing."""
    gets_failed: int
    """Counter: gets that failed."""
    bytes_put: int
    """Counter, bytes: payload of completed puts."""
    bytes_got: int
    """Counter, bytes: payload delivered by gets."""
    bytes_direct: int
    """Counter, bytes: payload that moved straight between memory and storage."""
    bytes_staged: int
    """Counter, bytes: payload that passed through the staging buffer."""
    evictions: int
    """Counter: entries evicted to make room."""
    corruptions: int
    """Counter: reads whose record did not prove right; each was a miss."""
    quarantined_slots: int
    """Gauge: slots that are out of use because of that or of I/O errors."""
    gets_unverified: int
    """Counter: gets served without a checksum because LMCache wrote the object and the configuration allows it."""
    short_transfers: int
    """Counter: short transfers that were completed by a further one."""
    retries: int
    """Counter: transfers repeated after EINTR or EAGAIN."""
    timed_out: int
    """Counter: items that ended because their deadline passed."""
    cancelled: int
    """Counter: items that ended because they were cancelled."""
    puts_declined: int
    """Counter: puts that the ``cache_policy`` REUSE declined."""


class Capabilities(NamedTuple):
    """Which path is in effect, and why not a better one."""

    object_bytes_max: int
    """Bytes of the largest object; 0: nothing but the device bounds it."""
    direct_alignment: int
    """Memory whose address and length are multiples of it moves without a copy; 1: all does."""
    io_threads: int
    """Threads that do the I/O."""
    direct_io: bool
    """Whether O_DIRECT is in effect."""
    registered_buffers: bool
    """Whether the staging buffer is registered with the kernel."""
    backend: str
    """The backend: "POSIX", ..."""
    io_path: str
    """How it moves bytes: "io_uring", "threads", "inline", "cufile_batch", "cufile", "usrbio", ..."""
    layout: str
    """Where bytes are: "static", "dynamic/sharded", "dynamic/lmcache"."""
    reason: str
    """Why a better path is not in effect; empty if nothing was degraded."""
    buffer_device: str
    """Where the staging buffer is: "cpu" or "cuda:N"."""
    device_path: str
    """What becomes of CUDA device memory: "staged", "direct", "direct_compat", "none"."""
    device_checksums: str
    """What computes the checksums of device memory: "cuda", "cpu", "none"."""
    device_reason: str
    """Why device memory is not served better; empty if nothing was degraded."""


class Store(_native.Store):
    """KV-cache chunks on storage, by key. Any thread may use it.

    ``config`` is the path of LMCache's YAML file; or ``text`` is its content; or ``settings`` are its settings as a mapping
    (see :func:`nixl_store.settings.settings_text`); or none of them is given and ``$LMCACHE_CONFIG_FILE`` names the file.

    ``chunk_bytes``: bytes of the largest object, for the slots of a static pool; 0: as the configuration says.
    ``worker_id``, ``world_size``: rank of this worker, and how many there are. ``cuda_device``: ordinal of its CUDA device.
    ``cache_namespace``: separates the keys of users who share one store.

    Keys are ``str`` (their UTF-8), ``bytes``, or buffers, of 1 to 1024 bytes. Memory is anything with the buffer protocol
    whose bytes are contiguous (``bytes``, ``bytearray``, ``memoryview``, NumPy arrays), a :class:`nixl_store.Region`, or a list
    of these. It is used in place, without a copy, from submit until the batch has completed, and must meanwhile not be changed
    (puts) or used (gets).

    Opening a store recovers what it holds. Close it with :meth:`close` or a ``with`` block, so that the next open is quick; a
    store that is still open when the interpreter exits is closed then.
    """

    _registered: Registrations

    def __new__(
        cls,
        config: Optional[Union[str, "os.PathLike[str]"]] = None,
        *,
        text: Optional[str] = None,
        settings: Optional[Mapping[str, Any]] = None,
        chunk_bytes: int = 0,
        worker_id: int = 0,
        world_size: int = 1,
        cuda_device: Optional[int] = None,
        cache_namespace: Optional[str] = None,
    ) -> "Store":
        if settings is not None:
            if text is not None or config is not None:
                raise TypeError("a store has one configuration: config, text or settings")
            text = settings_text(settings)
        store = super().__new__(
            cls,
            config,
            text=text,
            chunk_bytes=chunk_bytes,
            worker_id=worker_id,
            world_size=world_size,
            cuda_device=cuda_device,
            cache_namespace=cache_namespace,
        )
        store._registered = {}
        _open_stores.add(store)
        return store

    def close(self) -> None:
        """Closes the store: what is under way is completed, the index is kept for the next open.

        Registered memory is the caller's alone again, borrowed memory and queues are gone. Closing it again does nothing.
        """
        super().close()
        self._registered.clear()

    def put_batch(
        self,
        keys: Iterable[Any],
        memory: Iterable[Any],
        *,
        keep: bool = False,
        exact: bool = False,
        admit: bool = False,
        request: int = 0,
        deadline: Optional[float] = None,
    ) -> Results:
        """Stores many objects and waits until they are visible. See ``submit_put()`` for the arguments.

        What the ``cache_policy`` REUSE declines is no error: ``Results.found`` tells what is stored. Raises the first error of
        an item; its attribute ``results`` tells how each ended.
        """
        results = self.submit_put(
            keys, memory, keep=keep, exact=exact, admit=admit, request=request, deadline=deadline
        ).wait()
        results.raise_for_error()
        return results

    def get_batch(
        self,
        keys: Iterable[Any],
        memory: Iterable[Any],
        *,
        exact: bool = False,
        request: int = 0,
        deadline: Optional[float] = None,
    ) -> Results:
        """Fetches many objects into memory and waits for them. See ``submit_get()`` for the arguments.

        What is not found is no error: ``Results.found`` tells. Raises the first error of an item, with ``results``.
        """
        results = self.submit_get(keys, memory, exact=exact, request=request, deadline=deadline).wait()
        results.raise_for_error()
        return results

    def lookup(self, keys: Iterable[Any]) -> list[Optional[int]]:
        """For each key the length of its object in bytes, or None if it is not stored.

        With ``nixl_presence_cache`` a length that is not known without asking storage is 0.
        """
        return self._done(self.submit_lookup(keys).wait()).lengths

    def remove_batch(self, keys: Iterable[Any]) -> list[bool]:
        """Removes keys: for each, whether it was removed. What is not stored, or pinned, was not."""
        return self._done(self.submit_remove(keys).wait()).found

    def pin_batch(self, keys: Iterable[Any]) -> list[bool]:
        """Pins keys: for each, whether it is stored, and pinned now."""
        return self._done(self.submit_pin(keys).wait()).found

    def unpin_batch(self, keys: Iterable[Any]) -> list[bool]:
        """Takes back one pin of each key: for each, whether this store held one."""
        return self._done(self.submit_unpin(keys).wait()).found

    @staticmethod
    def _done(results: Results) -> Results:
        results.raise_for_error()
        return results

    def stats(self) -> Stats:
        """Gauges and counters."""
        return Stats(*self._stats())

    def capabilities(self) -> Capabilities:
        """Which path is in effect, and why not a better one."""
        return Capabilities(*self._capabilities())

    def register(self, memory: Any) -> None:
        """Registers memory, so that the kernel need not pin its pages for each transfer.

        ``memory`` is a writable buffer or a Region, and is kept until it is unregistered or the store is closed. It pays for
        memory that is used again and again.
        """
        address, length, owner = address_of(memory)
        self._register(address, length)
        self._registered[address] = owner

    def unregister(self, memory: Any) -> None:
        """Takes back a registration, after waiting for the transfers that use it."""
        address, _, _ = address_of(memory)
        self._unregister(address)
        self._registered.pop(address, None)

    def allocate(self, length: int) -> Allocation:
        """Borrows memory from the store's staging buffer; see :class:`nixl_store.memory.Allocation`."""
        return Allocation(self, self._allocate(length), length)

    def __contains__(self, key: Any) -> bool:
        return self.contains(key)

    def __len__(self) -> int:
        return self.stats().keys

    def __bool__(self) -> bool:
        # A store without keys is a store.
        return True

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()


_open_stores: "weakref.WeakSet[Store]" = weakref.WeakSet()


def _close_all() -> None:
    for store in list(_open_stores):
        try:
            store.close()
        except Exception:  # noqa: BLE001 - the next store is to be closed all the same
            import logging

            logging.getLogger("nixl_store").exception("a store could not be closed cleanly at exit")


atexit.register(_close_all)
