"""For LMCache's adapters of the type ``plugin``."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

from lmcache.lmcache_native import Bitmap
from lmcache.v1.distributed.internal_api import L2StoreResult
from lmcache.v1.distributed.l2_adapters.base import AdapterUsage, L2AdapterInterface

from .._native import Queue, Region, Results, Ticket
from ..errors import Error
from ..store import Store
from .options import Complaints, open_store

if TYPE_CHECKING:
    from lmcache.v1.distributed.api import MemoryLayoutDesc, ObjectKey
    from lmcache.v1.distributed.internal_api import L1MemoryDesc
    from lmcache.v1.memory_management import MemoryObj

_T = TypeVar("_T")

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


def _chains(keys: Sequence[ObjectKey]) -> list[Optional[list[int]]]:
    """The chains among a task's keys: the places of each, or None for a chain that has them all.

    Keys come in the order of the prompt, first those of one rank and group of layers, then those of the next. What each of them
    keeps is a chain of its own, with a beginning and an end: in one batch all of it would seem to hang on the end of another.
    """
    owners = [(key.kv_rank, key.object_group_id, key.cache_salt) for key in keys]
    if len(set(owners)) < 2:
        return [None]
    chains: dict[tuple[int, int, str], list[int]] = {}
    for place, owner in enumerate(owners):
        chains.setdefault(owner, []).append(place)
    return list(chains.values())


def _at(places: Optional[list[int]], of: list[_T]) -> list[_T]:
    return of if places is None else [of[place] for place in places]


class _Task:
    """A task: one batch for each chain in it, and how they ended."""

    def __init__(self, number: int, keys: list[ObjectKey], batches: int) -> None:
        self.number = number
        self.keys = keys
        self._left = batches
        self._ended: list[tuple[Optional[list[int]], Results]] = []
        self.failed = False
        """Whether a batch was refused or had errors. What was not found or declined is no error."""

    def end(self, places: Optional[list[int]], results: Optional[Results]) -> bool:
        """Takes the end of a batch, None if it was refused: whether it was the last."""
        if results is None:
            self.failed = True
        else:
            self.failed = self.failed or results.status < 0
            self._ended.append((places, results))
        self._left -= 1
        return self._left == 0

    @property
    def found(self) -> list[int]:
        """The places of the keys that ended well, in ascending order."""
        found: list[int] = []
        for places, results in self._ended:
            indices = results.found_indices
            found += indices if places is None else [places[index] for index in indices]
        found.sort()
        return found

    @property
    def sizes_moved(self) -> list[int]:
        """For each of these, the bytes that were moved."""
        sizes: dict[int, int] = {}
        for places, results in self._ended:
            for place, size in zip(places or itertools.count(), results.sizes_moved):
                if size is not None:
                    sizes[place] = size
        return [sizes[place] for place in sorted(sizes)]

    @property
    def bytes_moved(self) -> int:
        """All of them together."""
        return sum(results.bytes_moved for _, results in self._ended)


class _Tasks:
    """Tasks of one kind: their queue, and what was refused at submit.

    LMCache waits for the completion of each task that it submits. An exception at submit would end requests that other adapters
    have a part in, and leave their locks. So what is refused completes as failed, like any other.
    """

    def __init__(self, store: Store, complaints: Complaints) -> None:
        self.queue: Queue = store.queue()
        self._numbers = itertools.count(1)
        self._refused: deque[tuple[_Task, Optional[list[int]]]] = deque()
        self._complaints = complaints

    def submit(
        self, what: str, keys: Sequence[ObjectKey], submit: Callable[[Optional[list[int]], Any], int]
    ) -> int:
        """Submits a batch for each chain, by its places among the keys and a tag: the task's number."""
        chains = _chains(keys)
        task = _Task(next(self._numbers), list(keys), len(chains))
        for places in chains:
            try:
                submit(places, (task, places))
            except Exception as error:  # noqa: BLE001 - whatever it is, the task has to complete
                self._complaints.say(f"{what} was refused", error)
                self._refused.append((task, places))
                self.queue.wake()
        return task.number

    def drain(self) -> list[_Task]:
        """The tasks that have completed."""
        completed: list[_Task] = []
        while self._refused:
            task, places = self._refused.popleft()
            if task.end(places, None):
                completed.append(task)
        for _, (task, places), results in self.queue.drain():
            if results.status < 0:
                self._complaints.say("a task of LMCache's had errors", results.message)
            if task.end(places, results):
                completed.append(task)
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
        self._found: dict[int, tuple[Bitmap, list[ObjectKey]]] = {}
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
        return self._stores.submit(
            "a store",
            keys,
            lambda places, tag: self._stores.queue.submit_put(
                [key_name(key) for key in _at(places, keys)],
                [_region(memory) for memory in _at(places, objects)],
                keep=True,
                exact=self._exact,
                tag=tag,
            ),
        )

    def pop_completed_store_tasks(self) -> dict[int, L2StoreResult]:
        completed: dict[int, L2StoreResult] = {}
        for task in self._stores.drain():
            # A chunk that was declined is an answer: a task that failed would have LMCache log all of its keys as a warning,
            # and keep them in a L1 that is a write buffer. Whoever listens hears of what is stored, and of nothing else.
            completed[task.number] = L2StoreResult(not task.failed, task.bytes_moved)
            stored = [task.keys[place] for place in task.found]
            if stored:
                # What was there already moved no bytes, and adds none to the account.
                self._notify_keys_stored(stored, task.sizes_moved)
        return completed

    def submit_lookup_and_lock_task(
        self, keys: list[ObjectKey], group_layout_descs: dict[int, MemoryLayoutDesc]
    ) -> int:
        # The whole prompt: its loads and stores that follow are known by it to be of one request.
        return self._lookups.submit(
            "a lookup",
            keys,
            lambda places, tag: self._lookups.queue.submit_pin([key_name(key) for key in _at(places, keys)], tag=tag),
        )

    def query_lookup_and_lock_result(self, task_id: int) -> Optional[Bitmap]:
        for task in self._lookups.drain():
            found = task.found
            self._found[task.number] = (_bitmap(len(task.keys), found), [task.keys[place] for place in found])
        self._give_up_uncollected()
        answer = self._found.pop(task_id, None)
        return None if answer is None else answer[0]

    def _give_up_uncollected(self) -> None:
        while len(self._found) > _UNCOLLECTED_MAX:
            _, locked = self._found.pop(next(iter(self._found)))
            if locked:
                self._unlock([key_name(key) for key in locked])

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
        return self._loads.submit(
            "a load",
            keys,
            lambda places, tag: self._loads.queue.submit_get(
                [key_name(key) for key in _at(places, keys)],
                [_region(memory) for memory in _at(places, objects)],
                exact=self._exact,
                tag=tag,
            ),
        )

    def query_load_result(self, task_id: int) -> Optional[Bitmap]:
        for task in self._loads.drain():
            found = task.found
            self._loaded[task.number] = _bitmap(len(task.keys), found)
            if found:
                self._notify_keys_accessed([task.keys[place] for place in found])
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
