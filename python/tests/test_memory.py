"""Memory is held exactly as long as the library may use it."""

import gc
import os
import threading
import unittest
import weakref

import nixl_store

from .common import KIB, StoreTest, payload, wait_readable


def can_grow(memory: bytearray) -> bool:
    """Whether nobody holds a view of it: Python refuses to move memory that is lent."""
    try:
        memory.append(0)
    except BufferError:
        return False
    del memory[-1]
    return True


class Owner:
    """Something that can be watched going away."""


class Held(StoreTest):
    """From submit until the completion is taken."""

    def test_a_ticket_holds_memory_until_it_was_waited_for(self) -> None:
        store = self.open()
        source, target = bytearray(payload(1, 100 * KIB)), bytearray(100 * KIB)
        put = store.submit_put(["key"], [source])
        self.assertFalse(can_grow(source))
        put.wait()
        self.assertTrue(can_grow(source))
        get = store.submit_get(["key"], [target])
        self.assertFalse(can_grow(target))
        self.assertTrue(get.wait().ok)
        self.assertTrue(can_grow(target))
        self.assertEqual(target, source)

    def test_a_region_keeps_its_owner(self) -> None:
        store = self.open()
        memory, owner = bytearray(100), Owner()
        store.put("key", bytes(100))
        gone = weakref.ref(owner)
        address, length, held = nixl_store.memory.address_of(memory)
        ticket = store.submit_get(["key"], [nixl_store.Region(address, length, owner)])
        del owner
        gc.collect()
        self.assertIsNotNone(gone())
        ticket.wait()
        gc.collect()
        self.assertIsNone(gone())
        del held

    def test_a_dropped_ticket_leaves_the_batch_and_its_memory_alone(self) -> None:
        store = self.open()
        source = bytearray(payload(2, 200 * KIB))
        del_me = store.submit_put([str(index) for index in range(20)], [source] * 20)
        del del_me
        for index in range(20):
            while store.get(str(index)) is None:
                pass
        # The next submits look what has completed; the last item may be visible a moment before its batch is done.
        while not can_grow(source):
            store.submit_lookup(["0"]).wait()
            store.submit_put(["other"], [b"x"]).wait()
        self.assertEqual(store.get("19"), bytes(source))

    def test_a_batch_that_was_refused_holds_nothing(self) -> None:
        store = self.open()
        memory = bytearray(10)
        queue = store.queue()
        for submit in (store.submit_put, queue.submit_put):
            with self.assertRaises(nixl_store.InvalidArgumentError):
                submit(["k" * 2000], [memory])
            with self.assertRaises(TypeError):
                submit(["a", "b"], [memory, "text"])
            self.assertTrue(can_grow(memory))
        self.assertEqual(len(queue), 0)

    def test_close_lets_go_of_everything(self) -> None:
        store = self.open()
        memory = bytearray(payload(3, 100 * KIB))
        queue = store.queue()
        queue.submit_put(["a"], [memory])
        ticket = store.submit_put(["b"], [memory])
        dropped = store.submit_put(["c"], [memory])
        del dropped
        store.register(memory)
        store.close()
        with self.assertRaises(nixl_store.ClosedError):
            ticket.wait()
        ((_, _, results),) = queue.drain()
        self.assertIsInstance(nixl_store.errors.from_status(results.status, ""), nixl_store.ClosedError)
        queue.wake()
        del ticket, queue
        self.assertTrue(can_grow(memory))

    def test_registered_and_borrowed_memory(self) -> None:
        store = self.open(nixl_store_chunk_bytes=64 * KIB)
        memory = bytearray(payload(4, 64 * KIB))
        store.register(memory)
        self.assertFalse(can_grow(memory))
        with self.assertRaises(nixl_store.InvalidArgumentError):
            store.register(memory)
        store.put("key", memory)
        store.unregister(memory)
        self.assertTrue(can_grow(memory))
        with store.allocate(64 * KIB) as borrowed:
            self.assertEqual(store.get_into("key", borrowed), 64 * KIB)
            self.assertEqual(borrowed.tobytes(), bytes(memory))
            before = store.stats().bytes_staged
            borrowed[0:1] = b"!"
            store.put("key", borrowed)
            self.assertEqual(store.stats().bytes_staged, before, "borrowed memory is not copied")
        with self.assertRaises(ValueError):
            borrowed[0]
        self.assertEqual(store.get("key"), b"!" + memory[1:])


class Queues(StoreTest):
    """Completions through a descriptor."""

    def test_each_batch_completes_once_with_its_tag(self) -> None:
        store = self.open()
        queue = store.queue()
        tags = {}
        for index in range(100):
            tag = Owner()
            tags[queue.submit_put([f"key {index}"], [payload(index, 5000)], tag=tag)] = tag
        seen: list[int] = []
        while len(seen) < 100:
            wait_readable(queue.fileno())
            for number, tag, results in queue.drain():
                self.assertIs(tag, tags[number])
                self.assertTrue(results.ok)
                seen.append(number)
        self.assertEqual(sorted(seen), sorted(tags))
        self.assertEqual((len(queue), queue.drain()), (0, []))

    def test_every_kind_of_batch_goes_through_a_queue(self) -> None:
        store = self.open()
        queue = store.queue()
        target = bytearray(10)

        def run(number: int) -> nixl_store.Results:
            wait_readable(queue.fileno())
            ((done, tag, results),) = queue.drain()
            self.assertEqual((done, tag), (number, None))
            return results

        self.assertTrue(run(queue.submit_put(["a"], [b"0123456789"])).ok)
        self.assertEqual(run(queue.submit_put(["a"], [b"x"], keep=True)).sizes_moved, [0])
        self.assertTrue(run(queue.submit_get(["a"], [target], exact=True)).ok)
        self.assertEqual(target, b"0123456789")
        self.assertEqual(run(queue.submit_lookup(["a", "b", "a"], chain=True)).prefix, 1)
        self.assertEqual(run(queue.submit_pin(["a", "b"])).found, [True, False])
        self.assertEqual(run(queue.submit_remove(["a"])).statuses, [3])
        self.assertEqual(run(queue.submit_unpin(["a"])).found, [True])
        self.assertEqual(run(queue.submit_remove(["a", "b"])).found, [True, False])

    def test_a_wake_makes_it_readable_until_the_next_drain(self) -> None:
        queue = self.open().queue()
        queue.wake()
        wait_readable(queue.fileno(), 0)
        self.assertEqual(queue.drain(), [])
        with self.assertRaises(AssertionError):
            wait_readable(queue.fileno(), 0)
        # LMCache reads the descriptor before it asks for results.
        queue.submit_lookup(["key"])
        wait_readable(queue.fileno())
        os.read(queue.fileno(), 8)
        self.assertEqual(len(queue.drain()), 1)

    def test_threads_share_one(self) -> None:
        store = self.open()
        queue = store.queue()
        taken: list[int] = []
        lock = threading.Lock()
        wanted = 8 * 50

        def submit(thread: int) -> None:
            for index in range(50):
                queue.submit_put([f"{thread} {index % 5}"], [payload(thread, 1000)])
                drain()

        def drain() -> None:
            for number, _, results in queue.drain():
                with lock:
                    taken.append(number)
                assert results.ok, results.message

        threads = [threading.Thread(target=submit, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while len(taken) < wanted:
            wait_readable(queue.fileno())
            drain()
        self.assertEqual(sorted(taken), sorted(set(taken)))
        self.assertEqual((len(taken), len(queue)), (wanted, 0))

    def test_a_dropped_queue_leaves_its_batches_alone(self) -> None:
        store = self.open()
        memory = bytearray(payload(5, 100 * KIB))
        queue = store.queue()
        queue.submit_put(["key"], [memory])
        del queue
        while not can_grow(memory):
            store.submit_put(["other"], [b"x"]).wait()
        self.assertEqual(store.get("key"), bytes(memory))


if __name__ == "__main__":
    unittest.main()
