"""LMCache's own adapter interface, driven on the adapter for its type ``plugin``, made by LMCache's own factory.

Needs LMCache: ``make test-lmcache``. Without it these tests say that they were skipped.
"""

import json
import resource
import unittest
from typing import Any, Optional

from .common import KIB, MIB, StoreTest, payload, wait_readable

try:
    import lmcache  # noqa: F401
except ImportError:
    raise unittest.SkipTest("LMCache is not installed; make test-lmcache runs these") from None

from lmcache.lmcache_native import Bitmap
from lmcache.v1.distributed.api import ObjectKey
from lmcache.v1.distributed.internal_api import L1MemoryDesc, L2StoreResult
from lmcache.v1.distributed.l2_adapters import create_l2_adapter
from lmcache.v1.distributed.l2_adapters.base import L2AdapterInterface
from lmcache.v1.distributed.l2_adapters.config import get_l2_adapter_config_class
from lmcache.v1.memory_management import MemoryObj
from lmcache.v1.platform import consume_fd

from .lmcache_objects import ALIGN_BYTES, Arena, bits, content_of, object_key


class Listener:
    """What LMCache's eviction hears of."""

    def __init__(self) -> None:
        self.stored: list[ObjectKey] = []
        self.sizes: list[int] = []
        self.accessed: list[ObjectKey] = []
        self.deleted: list[ObjectKey] = []

    def on_l2_keys_stored(self, keys: list[ObjectKey], sizes: list[int]) -> None:
        self.stored.extend(keys)
        self.sizes.extend(sizes)

    def on_l2_keys_accessed(self, keys: list[ObjectKey]) -> None:
        self.accessed.extend(keys)

    def on_l2_keys_deleted(self, keys: list[ObjectKey]) -> None:
        self.deleted.extend(keys)


class AdapterTest(StoreTest):
    """Drives an adapter as LMCache's controllers do: poll, read the descriptor, ask for results."""

    kind = "plugin"
    class_name = "Adapter"

    def setUp(self) -> None:
        super().setUp()
        self.arena = Arena(24 * MIB)

    def adapter(self, **changes: Any) -> L2AdapterInterface:
        spec: dict[str, Any] = {
            "type": self.kind,
            "module_path": "nixl_store.lmcache",
            "class_name": self.class_name,
            "adapter_params": self.settings(**changes),
        }
        # Through JSON, as on the server's command line.
        config = get_l2_adapter_config_class(self.kind).from_dict(json.loads(json.dumps(spec)))
        arena = self.arena.bytes
        l1 = L1MemoryDesc(ptr=arena.data_ptr(), size=len(arena), align_bytes=ALIGN_BYTES)
        adapter = create_l2_adapter(config, l1)
        closed: list[bool] = []
        close = adapter.close

        def close_once() -> None:
            if not closed:
                closed.append(True)
                close()

        adapter.close = close_once  # type: ignore[method-assign]
        self.addCleanup(close_once)
        return adapter

    def store(self, adapter: L2AdapterInterface, keys: list[ObjectKey], objects: list[MemoryObj]) -> L2StoreResult:
        task = adapter.submit_store_task(keys, objects)
        while True:
            wait_readable(adapter.get_store_event_fd())
            consume_fd(adapter.get_store_event_fd())
            completed = adapter.pop_completed_store_tasks()
            if task in completed:
                return completed[task]

    def lookup(self, adapter: L2AdapterInterface, keys: list[ObjectKey]) -> list[bool]:
        task = adapter.submit_lookup_and_lock_task(keys, {})
        return bits(self._answer(adapter.get_lookup_and_lock_event_fd(), adapter.query_lookup_and_lock_result, task), len(keys))

    def load(self, adapter: L2AdapterInterface, keys: list[ObjectKey], objects: list[MemoryObj]) -> list[bool]:
        task = adapter.submit_load_task(keys, objects)
        return bits(self._answer(adapter.get_load_event_fd(), adapter.query_load_result, task), len(keys))

    def _answer(self, descriptor: int, query: Any, task: int) -> Bitmap:
        while True:
            wait_readable(descriptor)
            consume_fd(descriptor)
            answer: Optional[Bitmap] = query(task)
            if answer is not None:
                self.assertIsNone(query(task), "an answer is given once")
                return answer

    def objects(self, numbers: list[int], length: int = 100 * KIB) -> list[MemoryObj]:
        return [self.arena.take(length, payload(number, length)) for number in numbers]

    def empty(self, count: int, length: int = 100 * KIB) -> list[MemoryObj]:
        return [self.arena.take(length, b"\x5a" * length) for _ in range(count)]


class Plugin(AdapterTest):
    """``Adapter``."""

    def test_store_lookup_load_unlock(self) -> None:
        adapter = self.adapter()
        listener = Listener()
        adapter.register_listener(listener)  # type: ignore[arg-type]
        keys = [object_key(number) for number in range(5)]
        result = self.store(adapter, keys[:4], self.objects([0, 1, 2, 3]))
        self.assertEqual((result.is_successful(), result.bytes_transferred()), (True, 400 * KIB))
        self.assertEqual((listener.stored, listener.sizes), (keys[:4], [100 * KIB] * 4))
        self.assertEqual(self.lookup(adapter, keys), [True] * 4 + [False])
        loaded = self.empty(5)
        self.assertEqual(self.load(adapter, keys, loaded), [True] * 4 + [False])
        for number in range(4):
            self.assertEqual(content_of(loaded[number]), payload(number, 100 * KIB))
        self.assertEqual(listener.accessed, keys[:4])
        adapter.submit_unlock(keys[:4])
        self.assertEqual(adapter.report_status()["keys_pinned"], 0)
        self.assertEqual(self.store(adapter, keys[:1], self.objects([0])).bytes_transferred(), 0, "it was there")
        self.assertEqual(listener.sizes[-1], 0)

    def test_what_is_locked_is_not_evicted(self) -> None:
        adapter = self.adapter(nixl_pool_size=16)
        locked = [object_key(number) for number in range(4)]
        self.store(adapter, locked, self.objects(list(range(4))))
        self.assertEqual(self.lookup(adapter, locked), [True] * 4)
        self.assertEqual(self.lookup(adapter, locked[:1]), [True], "a lock is counted")
        source = self.objects([99])
        for number in range(100, 140):
            self.assertTrue(self.store(adapter, [object_key(number)], source).is_successful())
        loaded = self.empty(4)
        self.assertEqual(self.load(adapter, locked, loaded), [True] * 4)
        self.assertEqual(content_of(loaded[3]), payload(3, 100 * KIB))
        adapter.submit_unlock(locked)
        self.assertEqual(adapter.report_status()["keys_pinned"], 1)
        for number in range(200, 240):
            self.assertTrue(self.store(adapter, [object_key(number)], source).is_successful())
        self.assertEqual(self.load(adapter, locked, loaded), [True, False, False, False])
        adapter.submit_unlock(locked[:1])
        self.assertEqual(adapter.report_status()["keys_pinned"], 0)

    def test_delete_takes_what_is_not_locked(self) -> None:
        adapter = self.adapter()
        listener = Listener()
        adapter.register_listener(listener)  # type: ignore[arg-type]
        keys = [object_key(number) for number in range(3)]
        self.store(adapter, keys, self.objects([0, 1, 2]))
        self.assertEqual(self.lookup(adapter, keys[:1]), [True])
        adapter.delete([*keys, object_key(77)])
        self.assertEqual(listener.deleted, keys[1:])
        self.assertEqual(self.lookup(adapter, keys), [True, False, False])
        adapter.delete([])

    def test_usage_and_health_are_the_stores(self) -> None:
        adapter = self.adapter()
        self.store(adapter, [object_key(1, "salt")], self.objects([1]))
        usage = adapter.get_usage()
        self.assertEqual((usage.total_bytes_used, usage.total_capacity_bytes), (100 * KIB, 64 * 256 * KIB))
        self.assertFalse(adapter.supports_global_eviction, "the store evicts by itself")
        status = adapter.report_status()
        json.dumps(status)
        self.assertEqual((status["is_healthy"], status["backend"], status["keys"]), (True, "POSIX", 1))
        adapter.close()
        self.assertFalse(adapter.report_status()["is_healthy"])
        self.assertEqual(adapter.get_usage().total_bytes_used, 100 * KIB)
        # What the store holds after a restart counts.
        again = self.adapter()
        self.assertEqual(again.get_usage().total_bytes_used, 100 * KIB)

    def test_lmcaches_own_eviction_is_possible(self) -> None:
        adapter = self.adapter(nixl_pool_size=0, max_capacity_gb=0.001)
        self.assertTrue(adapter.supports_global_eviction)
        self.store(adapter, [object_key(1, "a"), object_key(2, "b")], self.objects([1, 2]))
        usage = adapter.get_usage()
        self.assertEqual(usage.total_capacity_bytes, int(0.001 * (1 << 30)))
        self.assertEqual(dict(usage.bytes_by_cache_salt), {"a": 100 * KIB, "b": 100 * KIB})
        adapter.delete([object_key(1, "a")])
        self.assertEqual(dict(adapter.get_usage().bytes_by_cache_salt), {"b": 100 * KIB})

    def test_what_is_declined_is_not_stored_and_nothing_else(self) -> None:
        adapter = self.adapter(nixl_pool_size=16, cache_policy="REUSE", nixl_store_io_threads=1)
        old, new = ([object_key(8 * number) for number in numbers] for numbers in (range(12), range(100, 108)))
        self.assertEqual(self.store(adapter, old, self.objects(list(range(12)), KIB)).bytes_transferred(), 12 * KIB)
        listener = Listener()
        adapter.register_listener(listener)  # type: ignore[arg-type]
        objects = self.objects(list(range(8)), KIB)
        with self.assertRaises(AssertionError, msg="something was logged"), self.assertLogs("nixl_store"):
            result = self.store(adapter, new, objects)
        self.assertEqual((result.is_successful(), result.bytes_transferred()), (True, 4 * KIB))
        self.assertEqual((listener.stored, listener.sizes), (new[:4], [KIB] * 4))
        with self.assertRaises(AssertionError, msg="something was logged"), self.assertLogs("nixl_store"):
            result = self.store(adapter, new[4:], objects[4:])
        self.assertEqual((result.is_successful(), result.bytes_transferred(), len(listener.stored)), (True, 0, 4))
        self.assertEqual(self.lookup(adapter, new), [True] * 4 + [False] * 4)
        self.assertEqual(self.load(adapter, new, self.empty(8, KIB)), [True] * 4 + [False] * 4)
        adapter.submit_unlock(new[:4])
        status = adapter.report_status()
        self.assertEqual((status["is_healthy"], status["puts_declined"], status["puts_failed"]), (True, 8, 0))
        self.assertEqual(adapter.get_usage().total_bytes_used, 16 * KIB)

    def test_what_one_rank_is_denied_is_no_matter_of_another(self) -> None:
        adapter = self.adapter(cache_policy="REUSE", nixl_store_io_threads=1)
        source = self.objects([1], KIB)
        self.store(adapter, [object_key(8 * number) for number in range(40)], source * 40)
        # As LMCache asks: all of one rank in the order of the prompt, then all of the next.
        ranks = [[object_key(8 * number + rank) for number in range(100, 134)] for rank in range(2)]
        self.assertEqual(self.lookup(adapter, ranks[0] + ranks[1]), [False] * 68)
        moved = [self.store(adapter, keys, source * 34).bytes_transferred() // KIB for keys in ranks]
        # The first fills the 24 free slots, and its end is too soon to displace anything. For the second it is late enough.
        self.assertEqual(moved, [24, 34])

    def test_chains_of_one_task_are_answered_together(self) -> None:
        adapter = self.adapter()
        listener = Listener()
        adapter.register_listener(listener)  # type: ignore[arg-type]
        keys = [object_key(number) for number in (8, 1, 16, 9, 24, 17)]
        objects = self.objects([0, 1, 2, 3, 4, 5])
        self.assertTrue(self.store(adapter, keys, objects).is_successful())
        self.assertEqual((listener.stored, listener.sizes), (keys, [100 * KIB] * 6))
        adapter.delete(keys[3:4])
        wanted = [True] * 3 + [False] + [True] * 2
        self.assertEqual(self.lookup(adapter, keys), wanted)
        loaded = self.empty(6)
        self.assertEqual(self.load(adapter, keys, loaded), wanted)
        for place, hit in enumerate(wanted):
            if hit:
                self.assertEqual(content_of(loaded[place]), payload(place, 100 * KIB))
        # One that is refused is no matter of the others, but the task has failed.
        endless = ObjectKey(chunk_hash=b"\1" * 16, model_name="m" * 2000, kv_rank=5)
        self.assertEqual(self.lookup(adapter, [keys[0], endless, keys[1]]), [True, False, True])
        self.assertFalse(self.store(adapter, [object_key(32), endless], self.objects([6, 7])).is_successful())
        self.assertEqual(self.lookup(adapter, [object_key(32)]), [True])

    def test_salts_and_ranks_are_keys_of_their_own(self) -> None:
        adapter = self.adapter()
        keys = [object_key(1), object_key(1, "one"), object_key(1, "two")]
        self.store(adapter, keys[:2], self.objects([1, 2]))
        loaded = self.empty(3)
        self.assertEqual(self.load(adapter, keys, loaded), [True, True, False])
        self.assertEqual(content_of(loaded[1]), payload(2, 100 * KIB))

    def test_damage_is_a_miss(self) -> None:
        adapter = self.adapter()
        keys = [object_key(number) for number in range(3)]
        self.store(adapter, keys, self.objects([0, 1, 2]))
        self.flip_a_bit_of(payload(1, 100 * KIB))
        self.assertEqual(self.load(adapter, keys, self.empty(3)), [True, False, True])

    def test_a_store_that_fails_half_way_serves_nothing_wrong(self) -> None:
        adapter = self.adapter(nixl_pool_size=0)
        listener = Listener()
        adapter.register_listener(listener)  # type: ignore[arg-type]
        keys = [object_key(0), object_key(1)]
        objects = [*self.objects([0]), *self.objects([1], 900 * KIB)]
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400 * KIB, hard))
        try:
            self.assertFalse(self.store(adapter, keys, objects).is_successful())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assertEqual((listener.stored, listener.sizes), (keys[:1], [100 * KIB]))
        self.assertEqual(self.lookup(adapter, keys), [True, False])
        self.assertEqual(self.load(adapter, keys[1:], self.empty(1, 900 * KIB)), [False])

    def test_a_task_that_is_refused_completes_as_failed(self) -> None:
        adapter = self.adapter()
        endless = ObjectKey(chunk_hash=b"\1" * 16, model_name="m" * 2000, kv_rank=0)
        self.assertFalse(self.store(adapter, [endless], self.objects([1])).is_successful())
        self.assertEqual(self.lookup(adapter, [endless]), [False])
        self.assertEqual(self.load(adapter, [endless], self.empty(1)), [False])
        adapter.submit_unlock([endless])
        adapter.delete([endless])

    def test_close_with_work_under_way_completes_it(self) -> None:
        adapter = self.adapter()
        keys = [object_key(number) for number in range(40)]
        objects = self.objects(list(range(40)))
        adapter.submit_store_task(keys, objects)
        adapter.submit_load_task(keys, self.empty(40))
        adapter.submit_lookup_and_lock_task(keys, {})
        adapter.close()
        # The memory is LMCache's alone: whatever it does with it now, what was stored is right.
        for one in objects:
            one.raw_data.fill_(0xEE)
        again = self.adapter()
        loaded = self.empty(40)
        self.assertEqual(self.load(again, keys, loaded), [True] * 40)
        for number, one in enumerate(loaded):
            self.assertEqual(content_of(one), payload(number, 100 * KIB))

    def test_memory_that_cannot_be_registered_is_no_obstacle(self) -> None:
        arena = self.arena
        mapped = arena.bytes

        class Elsewhere:
            """The address of nothing."""

            def data_ptr(self) -> int:
                return 4096

            def __len__(self) -> int:
                return 4096

        arena.bytes = Elsewhere()  # type: ignore[assignment]
        try:
            with self.assertLogs("nixl_store.lmcache", "WARNING"):
                adapter = self.adapter()
        finally:
            arena.bytes = mapped
        self.assertTrue(self.store(adapter, [object_key(1)], self.objects([1])).is_successful())

    def test_parameters_that_are_none_are_refused(self) -> None:
        for wrong in ({"max_capacity_gb": -1}, {"max_capacity_gb": "1"}, {"use_directio": True}, {"config_file": "x"}):
            with self.assertRaises((TypeError, ValueError)):
                self.adapter(**wrong)

    def test_both_adapters_have_the_same_keys(self) -> None:
        adapter = self.adapter()
        keys = [object_key(1), object_key(2, "salt")]
        self.store(adapter, keys, self.objects([1, 2]))
        adapter.close()
        other = NativePlugin()
        other.folder, other.arena = self.folder, self.arena
        connector = other.adapter()
        loaded = self.empty(2)
        self.assertEqual(other.load(connector, keys, loaded), [True, True])
        self.assertEqual(content_of(loaded[1]), payload(2, 100 * KIB))
        connector.close()


class NativePlugin(AdapterTest):
    """``Connector`` below LMCache's own wrapper."""

    kind = "native_plugin"
    class_name = "Connector"

    def runTest(self) -> None:
        """So that the other class can make one."""

    def test_store_lookup_load_delete(self) -> None:
        adapter = self.adapter()
        keys = [object_key(number) for number in range(5)]
        self.assertTrue(self.store(adapter, keys[:4], self.objects([0, 1, 2, 3])).is_successful())
        self.assertEqual(self.lookup(adapter, keys), [True] * 4 + [False])
        loaded = self.empty(5)
        self.assertEqual(self.load(adapter, keys, loaded), [True] * 4 + [False])
        self.assertEqual(content_of(loaded[2]), payload(2, 100 * KIB))
        adapter.delete(keys[:1])
        self.assertEqual(self.lookup(adapter, keys[:2]), [False, True])

    def test_close_with_work_under_way(self) -> None:
        adapter = self.adapter()
        keys = [object_key(number) for number in range(40)]
        adapter.submit_store_task(keys, self.objects(list(range(40))))
        adapter.close()
        self.assertEqual(self.load(self.adapter(), keys, self.empty(40)), [True] * 40)


if __name__ == "__main__":
    unittest.main()
