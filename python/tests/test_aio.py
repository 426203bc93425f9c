"""Batches awaited in an event loop."""

import asyncio
import unittest
from collections.abc import Awaitable
from typing import Any, Callable, Optional

import nixl_store

from .common import KIB, StoreTest, payload


class Asyncio(StoreTest):
    """AsyncStore."""

    def run_with(
        self,
        body: Callable[[nixl_store.AsyncStore], Awaitable[None]],
        settings: Optional[dict[str, Any]] = None,
        **options: Any,
    ) -> nixl_store.Store:
        store = self.open(**(settings or {}))

        async def run() -> None:
            async with nixl_store.AsyncStore(store, **options) as bound:
                await body(bound)

        asyncio.run(run())
        return store

    def test_batches_are_awaited(self) -> None:
        async def body(store: nixl_store.AsyncStore) -> None:
            keys = [str(index) for index in range(20)]
            objects = [payload(index, 10 * KIB) for index in range(20)]
            self.assertTrue((await store.put(keys[:15], objects[:15])).ok)
            memory = [bytearray(10 * KIB) for _ in keys]
            self.assertEqual((await store.get(keys, memory)).prefix, 15)
            self.assertEqual(memory[:15], objects[:15])
            self.assertEqual(await store.lookup(keys[14:16]), [10 * KIB, None])
            self.assertEqual(await store.prefix_match(keys), 15)
            self.assertEqual(await store.prefix_match([]), 0)
            self.assertEqual(await store.pin(keys[14:16]), [True, False])
            self.assertEqual(await store.remove(keys[13:15]), [True, False])
            self.assertEqual(await store.unpin(keys[14:15]), [True])

        self.run_with(body)

    def test_what_is_declined_is_an_answer(self) -> None:
        async def body(store: nixl_store.AsyncStore) -> None:
            self.assertTrue((await store.put([f"old {index}" for index in range(12)], [b"old"] * 12)).ok)
            keys = [f"new {index}" for index in range(8)]
            self.assertEqual((await store.put(keys, [b"new"] * 8)).found, [True] * 4 + [False] * 4)
            self.assertEqual(await store.prefix_match(keys), 4)
            self.assertTrue((await store.put(keys[4:], [b"new"] * 4, admit=True)).ok)

        store = self.run_with(body, {"nixl_pool_size": 16, "cache_policy": "REUSE", "nixl_store_io_threads": 1})
        self.assertEqual(store.stats().puts_declined, 4)

    def test_batches_of_one_request_are_one_chain(self) -> None:
        async def body(store: nixl_store.AsyncStore) -> None:
            chain, memory = [f"chain {index}" for index in range(8)], [b"1"] * 4
            self.assertEqual(await store.lookup(chain[:2], request=9), [None, None])
            self.assertEqual(await store.prefix_match(chain[2:4], request=9), 0)
            for half in (chain[:4], chain[4:]):
                self.assertTrue((await store.put(half, memory, request=9)).ok)
                self.assertTrue((await store.get(half, [bytearray(1) for _ in half], request=9)).ok)
            self.assertTrue((await store.put([f"other {index}" for index in range(4)], memory)).ok)
            self.assertEqual(await store.prefix_match(chain), 4)

        self.run_with(body, {"nixl_pool_size": 8})

    def test_errors_are_raised_where_they_are_awaited(self) -> None:
        async def body(store: nixl_store.AsyncStore) -> None:
            with self.assertRaises(nixl_store.TooLargeError):
                await store.put(["a", "b"], [bytes(300 * KIB), b"x"])
            with self.assertRaises(nixl_store.InvalidArgumentError):
                await store.put(["k" * 2000], [b"x"])
            with self.assertRaises(TypeError):
                await store.put(["a"], ["text"])
            self.assertEqual(await store.lookup(["a", "b"]), [None, 1])

        self.run_with(body)

    def test_more_than_fits_waits_for_its_turn(self) -> None:
        most: list[int] = []

        async def body(store: nixl_store.AsyncStore) -> None:
            async def one(index: int) -> None:
                items = 9 if index == 7 else 1 + index % 3
                await store.put([f"{index} {item}" for item in range(items)], [payload(index, 1000)] * items)
                most.append(store._items)

            await asyncio.gather(*(one(index) for index in range(20)))
            self.assertEqual((store._items, len(store._turns)), (0, 0))

        store = self.run_with(body, items_in_flight=4)
        self.assertEqual(len(most), 20)
        # The one batch of nine goes alone.
        self.assertLessEqual(max(most), 9)
        self.assertEqual(len(store), sum(9 if index == 7 else 1 + index % 3 for index in range(20)))

    def test_a_cancelled_await_keeps_its_memory_until_the_end(self) -> None:
        async def body(store: nixl_store.AsyncStore) -> None:
            for attempt in range(20):
                memory = bytearray(payload(attempt, 200 * KIB))
                task = asyncio.ensure_future(store.put([str(attempt)] , [memory]))
                waiting = asyncio.ensure_future(store.put(["behind it"], [b"x"]))
                await asyncio.sleep(0)
                task.cancel()
                waiting.cancel()
                for one in (task, waiting):
                    with self.assertRaises(asyncio.CancelledError):
                        await one
            while store._items:
                await store.lookup(["any"])

        store = self.run_with(body, items_in_flight=1)
        # Whole or not at all.
        for attempt in range(20):
            self.assertIn(store.get(str(attempt)), (None, payload(attempt, 200 * KIB)))

    def test_close_waits_for_what_is_under_way(self) -> None:
        store = self.open()

        async def run() -> None:
            bound = nixl_store.AsyncStore(store, items_in_flight=8)
            tasks = [
                asyncio.ensure_future(bound.put([f"{index} {item}" for item in range(8)], [bytes(100 * KIB)] * 8))
                for index in range(3)
            ]
            await asyncio.sleep(0)
            await bound.close()
            await bound.close()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            self.assertTrue(ends[0].ok)
            self.assertTrue(all(isinstance(end, asyncio.CancelledError) for end in ends[1:]), ends)
            with self.assertRaises(RuntimeError):
                await bound.lookup(["key"])

        asyncio.run(run())
        self.assertEqual(len(store), 8)

    def test_a_store_that_is_closed_first_leaves_nobody_waiting(self) -> None:
        store = self.open()

        async def run() -> None:
            bound = nixl_store.AsyncStore(store)
            task = asyncio.ensure_future(bound.put(["key"], [payload(1, 100 * KIB)]))
            await asyncio.sleep(0)
            store.close()
            await bound.close()
            with self.assertRaises(nixl_store.ClosedError):
                await task

        asyncio.run(run())
        self.assertEqual(self.open().get("key"), payload(1, 100 * KIB))


if __name__ == "__main__":
    unittest.main()
