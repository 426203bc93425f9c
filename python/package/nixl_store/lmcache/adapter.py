"""For LMCache's adapters of the type ``plugin``."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Callable, Optional

from lmcache.lmcache_native import Bitmap
from lmcache.v1.distributed.internal_api import L2StoreResult
from lmcache.v1.distributed.l2_adapters.base import AdapterUsage, L2AdapterInterface

from .._native import Queue, Region, Results, Ticket
from ..errors import Error
from ..store import Store
from .options import Complaints, Refusals, open_store

if TYPE_CHECKING:
    from lmcache.v1.distributed.api import MemoryLayoutDesc, ObjectKey
    from lmcache.v1.distributed.internal_api import L1MemoryDesc
    from lmcache.v1.memory_management import MemoryObj

_NOTHING: Mapping[str, int] = MappingProxyType({})

_UNCOLLECTED_MAX = 4096
"""Lookups whose answers LMCache did not come for, up to which their locks are kept: it gives requests up without a word."""

_UNLOCK_TRIES = 3
"""Times that an unlock is repeated after an error of the storage."""


def key_name(key: ObjectKey) -> str:
    """The key under which an object of LMCache's is stored; the same as that of its own native connectors."""
    name = f"{key.model_name}@{key.kv_rank:08x}@{key.object_group_id:x}@{key.chunk_hash.hex()}"
    return f"{name}@{key.cache_salt}" if key.cache_salt else name


def _region(memory: MemoryObj) -> Region:
    # By address: LMCache's own view of the bytes makes several objects for each chunk. The region keeps the MemoryObj.
    return Region(memory.data_ptr, memory.get_size(), memory, host=True)


class _Tasks:
    """Tasks of one kind: their queue, and those that were refused at submit."""

    def __init__(self, store: Store, complaints: Complaints) -> None:
        self.queue: Queue = store.queue()
        self._refusals = Refusals()
        self._refused: deque[tuple[int, Any, Optional[Results]]] = deque()
        self._complaints = complaints

    def submit(self, what: str, tag: Any, submit: Callable[[], int]) -> int:
        """Submits a batch, which completes whatever becomes of it."""
        number, error = self._refusals.submit(submit)
        if error is not None:
            self._complaints.say(f"{what} was refused", error)
            self._refused.append((number, tag, None))
            self.queue.wake()
        return number

    def drain(self) -> list[tuple[int, Any, Optional[Results]]]:
        """The tasks that have completed: number, tag, and results, or None if the task was refused."""
        completed: list[tuple[int, Any, Optional[Results]]] = []
        while self._refused:
            completed.append(self._refused.popleft())
        for one in self.queue.drain():
            if one[2].status < 0:
                self._complaints.say("a task of LMCache's had errors", one[2].message)
            completed.append(one)
        return completed


class Adapter(L2AdapterInterface):
    """An L2 adapter that keeps LMCache's objects in a store.

    Its parameters are the settings of the YAML file by name, or ``config_file``; see :func:`open_store`. Beside them:

    ``exact_length``: an object is loaded only if it has exactly the length of the memory given for it, which is right unless
    LMCache's ``serde`` is on. ``max_capacity_gb``: lets LMCache's own eviction, where its JSON asks for one, keep the store
    below so many GiB; without it the store evicts by itself. ``register_l1``: whether LMCache's memory is registered with the
    store, which spares the kernel pinning it for each transfer.

    Locks are pins: what a lookup found is neither evicted nor deleted until it is unlocked. Completions come through three
    eventfds of the library's own; the thread that polls them takes the results, and there is no other.
    """

    def __init__(
        self, params: Mapping[str, Any], l1_memory_desc: Optional[L1MemoryDesc] = None
    ) -> None:
        settings: dict[str, Any] = dict(params)
        self._exact = bool(settings.pop("exact_length", True))
        max_capacity_gb = settings.pop("max_capacity_gb", 0)
        if isinstance(max_capacity_gb, bool) or not isinstance(max_capacity_gb, (int, float)) or max_capacity_gb < 0:
            raise ValueError("max_capacity_gb is a number, 0 or more")
        register_l1 = bool(settings.pop("register_l1", True))
        super().__init__(max_capacity_bytes=int(max_capacity_gb * (1 << 30)))
        self._complaints = Complaints()
        self._store = open_store(settings)
        try:
            self._stores = _Tasks(self._store, self._complaints)
            self._lookups = _Tasks(self._store, self._complaints)
            self._loads = _Tasks(self._store, self._complaints)
            if register_l1 and l1_memory_desc is not None:
                self._register(l1_memory_desc)
        except BaseException:
            self._store.close()
            raise
        self._found: dict[int, tuple[Bitmap, list[str]]] = {}
        self._loaded: dict[int, Bitmap] = {}
        self._unlocks: deque[tuple[Ticket, list[str], int]] = deque()

    @property
    def store(self) -> Store:
        """The store itself."""
        return self._store

    def _register(self, l1: L1MemoryDesc) -> None:
        # What LMCache has not touched yet of memory that grows must not be touched by registering it.
        length = l1.size if l1.stable_registration_size is None else l1.stable_registration_size
        if length <= 0:
            return
        try:
            self._store.register(Region(l1.ptr, length, host=True))
        except Error as error:
            # It only saves processor time.
            self._complaints.say("LMCache's memory could not be registered; transfers go on without", error)

    def get_store_event_fd(self) -> int:
        return self._stores.queue.fileno()

    def get_lookup_and_lock_event_fd(self) -> int:
        return self._lookups.queue.fileno()

    def get_load_event_fd(self) -> int:
        return self._loads.queue.fileno()

    def submit_store_task(self, keys: list[ObjectKey], objects: list[MemoryObj]) -> int:
        tag = list(keys)
        return self._stores.submit(
            "a store",
            tag,
            lambda: self._stores.queue.submit_put(
                [key_name(key) for key in keys],
                [_region(memory) for memory in objects],
                keep=True,
                exact=self._exact,
                tag=tag,
            ),
        )

    def pop_completed_store_tasks(self) -> dict[int, L2StoreResult]:
        completed: dict[int, L2StoreResult] = {}
        for number, keys, results in self._stores.drain():
            if results is None:
                completed[number] = L2StoreResult(False, 0)
                continue
            completed[number] = L2StoreResult(results.ok, results.bytes_moved)
            # What was there already moved no bytes, and adds none to the account.
            stored = keys if results.ok else [keys[index] for index in results.found_indices]
            if stored:
                self._notify_keys_stored(stored, [size for size in results.sizes_moved if size is not None])
        return completed

    def submit_lookup_and_lock_task(
        self, keys: list[ObjectKey], group_layout_descs: dict[int, MemoryLayoutDesc]
    ) -> int:
        names = [key_name(key) for key in keys]
        return self._lookups.submit("a lookup", names, lambda: self._lookups.queue.submit_pin(names, tag=names))

    def query_lookup_and_lock_result(self, task_id: int) -> Optional[Bitmap]:
        for number, names, results in self._lookups.drain():
            found = [] if results is None else results.found_indices
            self._found[number] = (_bitmap(len(names), found), [names[index] for index in found])
        self._give_up_uncollected()
        answer = self._found.pop(task_id, None)
        return None if answer is None else answer[0]

    def _give_up_uncollected(self) -> None:
        while len(self._found) > _UNCOLLECTED_MAX:
            _, locked = self._found.pop(next(iter(self._found)))
            if locked:
                self._unlock(locked)

    def submit_unlock(self, keys: list[ObjectKey]) -> None:
        if keys:
            self._unlock([key_name(key) for key in keys])

    def _unlock(self, names: list[str], tries: int = 0) -> None:
        try:
            self._collect_unlocks()
            ticket = self._store.submit_unpin(names, deadline=math.inf)
        except Exception as error:  # noqa: BLE001 - LMCache takes for granted that this works
            self._complaints.say("an unlock was refused", error)
            return
        self._unlocks.append((ticket, names, tries))

    def _collect_unlocks(self) -> None:
        """Takes the ends of unlocks that are done, and repeats those that storage failed."""
        for _ in range(len(self._unlocks)):
            try:
                ticket, names, tries = self._unlocks.popleft()
            except IndexError:
                return
            if not ticket.done():
                self._unlocks.append((ticket, names, tries))
                continue
            results = ticket.wait()
            failed = [name for name, status in zip(names, results.statuses) if status < 0] if results.status < 0 else []
            if failed:
                self._complaints.say("an unlock had errors", results.message)
                if tries < _UNLOCK_TRIES:
                    self._unlocks.append((self._store.submit_unpin(failed, deadline=math.inf), failed, tries + 1))

    def submit_load_task(self, keys: list[ObjectKey], objects: list[MemoryObj]) -> int:
        tag = list(keys)
        return self._loads.submit(
            "a load",
            tag,
            lambda: self._loads.queue.submit_get(
                [key_name(key) for key in keys],
                [_region(memory) for memory in objects],
                exact=self._exact,
                tag=tag,
            ),
        )

    def query_load_result(self, task_id: int) -> Optional[Bitmap]:
        for number, keys, results in self._loads.drain():
            found = [] if results is None else results.found_indices
            self._loaded[number] = _bitmap(len(keys), found)
            if found:
                self._notify_keys_accessed([keys[index] for index in found])
        while len(self._loaded) > _UNCOLLECTED_MAX:
            self._loaded.pop(next(iter(self._loaded)))
        return self._loaded.pop(task_id, None)

    def delete(self, keys: list[ObjectKey]) -> None:
        """Deletes objects that are not locked. What cannot be deleted is logged, not raised."""
        if not keys:
            return
        try:
            names = [key_name(key) for key in keys]
            lengths = self._store.submit_lookup(names).wait().lengths
            results = self._store.submit_remove(names).wait()
            if results.status < 0:
                self._complaints.say("a deletion had errors", results.message)
            gone = results.found_indices
            if gone:
                self._notify_keys_deleted([keys[index] for index in gone], [lengths[index] or 0 for index in gone])
        except Error as error:
            self._complaints.say("a deletion was refused", error)

    def get_usage(self) -> AdapterUsage:
        """What the store holds. Bytes of each salt are told only where nobody but LMCache deletes."""
        usage = super().get_usage()
        try:
            stats = self._store.stats()
        except Error:
            return usage
        return AdapterUsage(
            total_bytes_used=stats.bytes_stored,
            total_capacity_bytes=usage.total_capacity_bytes or stats.capacity_bytes,
            bytes_by_cache_salt=_NOTHING if stats.capacity_bytes else usage.bytes_by_cache_salt,
        )

    def report_status(self) -> dict[str, Any]:
        status: dict[str, Any] = {"is_healthy": False, "type": "nixl_store.lmcache.Adapter"}
        try:
            stats, capabilities = self._store.stats(), self._store.capabilities()
        except Error as error:
            status["error"] = str(error)
            return status
        status.update(capabilities._asdict())
        status.update(stats._asdict())
        status["is_healthy"] = True
        return status

    def close(self) -> None:
        """Completes what is under way and closes the store; the memory is LMCache's alone when this returns."""
        self._store.close()


def _bitmap(size: int, places: list[int]) -> Bitmap:
    if len(places) == size:
        return Bitmap(size, size)
    bitmap = Bitmap(size)
    if places:
        bitmap.batched_set(places)
    return bitmap
