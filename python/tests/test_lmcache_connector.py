"""What LMCache's ``native_plugin`` asks of a connector, without LMCache: ``Connector`` is driven as LMCache drives it."""

import resource
import threading
import unittest
from typing import Optional

from nixl_store.lmcache import Connector

from .common import KIB, StoreTest, payload, wait_readable


class Driver:
    """Submits and takes completions, one after the other."""

    def __init__(self, connector: Connector) -> None:
        self.connector = connector
        self._done: dict[int, tuple[bool, str, Optional[list[bool]]]] = {}

    def end_of(self, number: int) -> tuple[bool, str, Optional[list[bool]]]:
        """The completion of that batch."""
        while number not in self._done:
            wait_readable(self.connector.event_fd())
            for done, went_well, message, found in self.connector.drain_completions():
                assert done not in self._done, "a completion came twice"
                self._done[done] = (went_well, message, found)
        return self._done.pop(number)

    def set(self, keys: list[str], objects: list[bytes]) -> bool:
        return self.end_of(self.connector.submit_batch_set(keys, [memoryview(one) for one in objects]))[0]

    def get(self, keys: list[str], length: int) -> list[Optional[bytes]]:
        memory = [bytearray(length) for _ in keys]
        found = self.end_of(self.connector.submit_batch_get(keys, [memoryview(one) for one in memory]))[2]
        assert found is not None and len(found) == len(keys)
        return [bytes(one) if hit else None for one, hit in zip(memory, found)]


class NativePlugin(StoreTest):
    """The interface of LMCache 0.5.6's native connectors."""

    def connector(self, **changes: object) -> Connector:
        connector = Connector(**self.settings(**changes))
        self.addCleanup(connector.close)
        return connector

    def test_store_lookup_load_delete(self) -> None:
        driver = Driver(self.connector())
        keys = [f"meta-llama/Llama-3.1-8B@{rank:08x}@0@{index:032x}" for index, rank in enumerate([0, 1, 2, 3])]
        objects = [payload(index, 100 * KIB) for index in range(4)]
        self.assertTrue(driver.set(keys[:3], objects[:3]))
        self.assertEqual(driver.end_of(driver.connector.submit_batch_exists(keys)), (True, "", [True] * 3 + [False]))
        self.assertEqual(driver.get(keys, 100 * KIB), [*objects[:3], None])
        self.assertEqual(
            driver.end_of(driver.connector.submit_batch_delete([keys[0], keys[3]])), (True, "", [True, False])
        )
        self.assertEqual(driver.get(keys[:2], 100 * KIB), [None, objects[1]])

    def test_what_is_stored_is_not_written_again(self) -> None:
        driver = Driver(self.connector())
        self.assertTrue(driver.set(["key"], [payload(1, 100 * KIB)]))
        before = driver.connector.store.stats()
        self.assertTrue(driver.set(["key"], [payload(1, 100 * KIB)]))
        self.assertEqual(driver.connector.store.stats().bytes_put, before.bytes_put)

    def test_what_is_declined_is_not_stored_and_nothing_else(self) -> None:
        driver = Driver(self.connector(nixl_pool_size=16, cache_policy="REUSE", nixl_store_io_threads=1))
        self.assertTrue(driver.set([f"old {index}" for index in range(12)], [payload(1, KIB)] * 12))
        keys, objects = [f"new {index}" for index in range(8)], [payload(index, KIB) for index in range(8)]
        with self.assertRaises(AssertionError, msg="something was logged"), self.assertLogs("nixl_store"):
            end = driver.end_of(driver.connector.submit_batch_set(keys, [memoryview(one) for one in objects]))
        self.assertEqual(end, (True, "", [True] * 4 + [False] * 4))
        self.assertEqual(driver.end_of(driver.connector.submit_batch_exists(keys))[2], end[2])
        self.assertEqual(driver.get(keys, KIB), [*objects[:4], *[None] * 4])
        self.assertEqual(driver.connector.store.stats().puts_declined, 4)

    def test_an_object_of_another_length_is_a_miss_and_replaced(self) -> None:
        driver = Driver(self.connector())
        self.assertTrue(driver.set(["key"], [payload(1, 100 * KIB)]))
        self.assertEqual(driver.get(["key"], 101 * KIB), [None])
        self.assertTrue(driver.set(["key"], [payload(2, 101 * KIB)]))
        self.assertEqual(driver.get(["key"], 101 * KIB), [payload(2, 101 * KIB)])

    def test_without_exact_lengths_a_shorter_object_is_loaded(self) -> None:
        driver = Driver(self.connector(exact_length=False))
        self.assertTrue(driver.set(["key"], [payload(1, 100)]))
        self.assertEqual(driver.get(["key"], 120), [payload(1, 100) + bytes(20)])

    def test_damage_is_a_miss_and_a_restart_keeps_the_rest(self) -> None:
        connector = self.connector()
        driver = Driver(connector)
        keys, objects = ["one", "two", "three"], [payload(index, 90 * KIB) for index in range(3)]
        self.assertTrue(driver.set(keys, objects))
        self.flip_a_bit_of(objects[1])
        self.assertEqual(driver.get(keys, 90 * KIB), [objects[0], None, objects[2]])
        connector.close()
        self.assertEqual(Driver(self.connector()).get(keys, 90 * KIB), [objects[0], None, objects[2]])

    def test_a_store_that_fails_half_way_leaves_nothing_wrong(self) -> None:
        # Each object is a file of its own here, which the limit below cuts.
        driver = Driver(self.connector(nixl_pool_size=0))
        small, large = payload(1, 100 * KIB), payload(2, 900 * KIB)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400 * KIB, hard))
        try:
            with self.assertLogs("nixl_store.lmcache", "WARNING"):
                self.assertFalse(driver.set(["small", "large"], [small, large]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assertEqual(driver.get(["small"], 100 * KIB), [small])
        self.assertEqual(driver.get(["large"], 900 * KIB), [None])
        self.assertTrue(driver.set(["large"], [large]))
        self.assertEqual(driver.get(["large"], 900 * KIB), [large])

    def test_a_batch_that_is_refused_completes_as_failed(self) -> None:
        driver = Driver(self.connector())
        connector = driver.connector
        too_long = ["k" * 2000]
        view = [memoryview(bytearray(10))]
        for submit in (
            lambda: connector.submit_batch_set(too_long, view),
            lambda: connector.submit_batch_get(too_long, view),
            lambda: connector.submit_batch_exists(too_long),
            lambda: connector.submit_batch_delete(too_long),
            lambda: connector.submit_batch_get(["read only"], [memoryview(bytes(10))]),
        ):
            went_well, message, found = driver.end_of(submit())
            self.assertEqual((went_well, found), (False, None))
            self.assertNotEqual(message, "")
        self.assertEqual(connector.drain_completions(), [])

    def test_eviction_makes_room(self) -> None:
        driver = Driver(self.connector(nixl_pool_size=16))
        for index in range(40):
            self.assertTrue(driver.set([str(index)], [payload(index, 200 * KIB)]))
        kept = [one is not None for one in driver.get([str(index) for index in range(40)], 200 * KIB)]
        self.assertEqual(kept, [False] * 24 + [True] * 16)

    def test_close_with_work_under_way_completes_it(self) -> None:
        connector = self.connector()
        objects = [payload(index, 200 * KIB) for index in range(40)]
        memory = [bytearray(one) for one in objects]
        connector.submit_batch_set([str(index) for index in range(40)], [memoryview(one) for one in memory])
        connector.close()
        # Nobody uses the memory any more, and all of it is stored.
        for one in memory:
            one[:] = bytes(len(one))
        self.assertEqual(Driver(self.connector()).get([str(index) for index in range(40)], 200 * KIB), objects)

    def test_a_closed_one_completes_what_it_can_no_longer_do(self) -> None:
        connector = self.connector()
        connector.close()
        number = connector.submit_batch_exists(["key"])
        ((done, went_well, _, found),) = connector.drain_completions()
        self.assertEqual((done, went_well, found), (number, False, None))

    def test_what_close_completed_is_not_lost(self) -> None:
        connector = self.connector()
        view = memoryview(payload(1, 1000))
        number = connector.submit_batch_set(["key"], [view])
        connector.close()
        ((done, went_well, message, found),) = connector.drain_completions()
        self.assertEqual((done, went_well, found), (number, False, [False]))
        self.assertNotEqual(message, "")
        self.assertEqual(connector.drain_completions(), [])

    def test_a_thread_that_drains_sees_every_completion(self) -> None:
        """As in LMCache: one thread drains, others submit."""
        connector = self.connector(nixl_pool_size=32)
        wanted, taken, lock = 6 * 60, {}, threading.Lock()  # type: ignore[var-annotated]

        def drain() -> None:
            while len(taken) < wanted:
                wait_readable(connector.event_fd())
                for number, went_well, message, found in connector.drain_completions():
                    with lock:
                        assert number not in taken
                        taken[number] = (went_well, message, found)

        def submit(thread: int) -> None:
            view = memoryview(payload(thread, 64 * KIB))
            for index in range(20):
                key = f"{thread} {index % 7}"
                connector.submit_batch_set([key], [view])
                connector.submit_batch_exists([key])
                connector.submit_batch_get([key], [memoryview(bytearray(64 * KIB))])

        threads = [threading.Thread(target=drain)]
        threads += [threading.Thread(target=submit, args=(thread,)) for thread in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertTrue(all(end[0] for end in taken.values()), taken)


if __name__ == "__main__":
    unittest.main()
