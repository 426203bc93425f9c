"""The store: what is put is what is got, and every error is an exception with the library's words."""

import array
import os
import pathlib
import re
import time
import unittest

import nixl_store
from nixl_store import Region
from nixl_store.errors import log_message
from nixl_store.store import Capabilities, Stats

from .common import KIB, StoreTest, payload


class Objects(StoreTest):
    """One object at a time."""

    def test_an_object_comes_back(self) -> None:
        store = self.open()
        store.put("text", b"hello")
        store.put(b"\x00bytes", bytearray(b"bytes"))
        self.assertEqual(store.get("text"), b"hello")
        self.assertEqual(store.get(b"text"), b"hello")
        self.assertEqual(store.get(b"\x00bytes"), b"bytes")
        self.assertIsNone(store.get("absent"))

    def test_memory_of_every_kind_is_used_in_place(self) -> None:
        store = self.open()
        content = payload(1, 64 * KIB)
        numbers = array.array("I", content)
        kinds = {
            "bytes": content,
            "bytearray": bytearray(content),
            "memoryview": memoryview(b"x" + content)[1:],
            "array": numbers,
            "region": Region(numbers.buffer_info()[0], len(content), numbers),
            "host region": Region(numbers.buffer_info()[0], len(content), numbers, host=True),
            "parts": [content[:1000], (bytearray(content[1000:5000])), memoryview(content)[5000:]],
        }
        for key, memory in kinds.items():
            store.put(key, memory)
        for key in kinds:
            self.assertEqual(store.get(key), content, key)
        whole = bytearray(64 * KIB)
        self.assertEqual(store.get_into("bytes", whole), 64 * KIB)
        self.assertEqual(whole, content)
        target = array.array("B", bytes(70 * KIB))
        self.assertEqual(store.get_into("bytes", Region(target.buffer_info()[0], 70 * KIB, target)), 64 * KIB)
        self.assertEqual(target.tobytes(), content + bytes(6 * KIB))
        first, second = bytearray(10), bytearray(64 * KIB - 10)
        self.assertEqual(store.get_into("bytes", [first, second]), 64 * KIB)
        self.assertEqual(first + second, content)

    def test_memory_that_cannot_be_used_is_refused(self) -> None:
        store = self.open()
        store.put("key", b"hello")
        with self.assertRaises(TypeError):
            store.put("key", "text")
        with self.assertRaises(TypeError):
            store.put(7, b"hello")
        with self.assertRaises(BufferError):
            store.put("key", memoryview(bytes(10))[::2])
        with self.assertRaises(BufferError):
            store.get_into("key", bytes(10))
        with self.assertRaises(nixl_store.InvalidArgumentError):
            store.put("key", b"")
        with self.assertRaises(nixl_store.InvalidArgumentError):
            store.put("k" * 1025, b"hello")
        with self.assertRaises(nixl_store.BufferTooSmallError):
            store.get_into("key", bytearray(4))
        with self.assertRaises(ValueError):
            Region(4096, 10, host=True, cuda_device=0)
        self.assertEqual(store.get("key"), b"hello")

    def test_keep_and_exact_do_what_the_header_says(self) -> None:
        store = self.open()
        store.put("key", b"first")
        store.put("key", b"other", keep=True)
        self.assertEqual(store.get("key"), b"first")
        store.put("key", b"other", keep=True, exact=True)
        self.assertEqual(store.get("key"), b"first")
        store.put("key", b"longer", keep=True, exact=True)
        self.assertEqual(store.get("key"), b"longer")
        self.assertIsNone(store.get_into("key", bytearray(7), exact=True))
        self.assertEqual(store.get_into("key", bytearray(6), exact=True), 6)

    def test_damaged_bytes_are_a_miss(self) -> None:
        store = self.open()
        content = payload(2, 100 * KIB)
        store.put("key", content)
        store.put("other", payload(3, 100 * KIB))
        self.flip_a_bit_of(content)
        self.assertIsNone(store.get("key"))
        self.assertEqual(store.get("other"), payload(3, 100 * KIB))
        self.assertEqual(store.stats().corruptions, 1)

    def test_questions_about_keys(self) -> None:
        store = self.open()
        keys = [f"chain {index}" for index in range(6)]
        store.put_batch(keys[:4], [payload(index, 100 + index) for index in range(4)])
        self.assertTrue(store.contains(keys[0]) and keys[3] in store and keys[4] not in store)
        self.assertEqual(store.length(keys[2]), 102)
        self.assertIsNone(store.length(keys[5]))
        self.assertEqual(store.prefix_match(keys), 4)
        self.assertEqual(store.lookup(keys), [100, 101, 102, 103, None, None])
        self.assertEqual(len(store), 4)
        self.assertTrue(store.pin(keys[0]))
        self.assertFalse(store.pin(keys[5]))
        with self.assertRaises(nixl_store.PinnedError):
            store.remove(keys[0])
        self.assertEqual(store.remove_batch(keys[:2] + keys[5:]), [False, True, False])
        self.assertEqual(store.clear(), 2)
        self.assertTrue(store.unpin(keys[0]))
        self.assertFalse(store.unpin(keys[0]))
        self.assertTrue(store.remove(keys[0]))
        self.assertFalse(store.remove(keys[0]))
        self.assertEqual(store.pin_batch(keys), [False] * 6)
        self.assertEqual(len(store), 0)
        self.assertTrue(store)

    def test_what_was_put_is_there_after_a_restart(self) -> None:
        store = self.open()
        store.put("key", payload(4, 200 * KIB))
        store.flush()
        store.close()
        self.assertTrue(store.closed)
        store.close()
        with self.assertRaisesRegex(nixl_store.ClosedError, "the store is closed"):
            store.get("key")
        self.assertEqual(self.open().get("key"), payload(4, 200 * KIB))


class Batches(StoreTest):
    """Many objects at a time."""

    def test_each_item_has_its_own_end(self) -> None:
        store = self.open()
        objects = [payload(index, 4096 * (index + 1)) for index in range(10)]
        put = store.put_batch([f"key {index}" for index in range(10)], objects)
        self.assertTrue(put.ok)
        self.assertEqual(put.bytes_moved, sum(map(len, objects)))
        memory = [bytearray(len(one)) for one in objects]
        keys = [f"key {index}" if index % 3 else f"absent {index}" for index in range(10)]
        got = store.get_batch(keys, memory)
        self.assertEqual(got.found, [index % 3 != 0 for index in range(10)])
        self.assertEqual(got.found_indices, [1, 2, 4, 5, 7, 8])
        self.assertEqual((got.ok, got.status, got.prefix, len(got)), (False, 1, 0, 10))
        self.assertEqual(got.lengths, [len(one) if index % 3 else None for index, one in enumerate(objects)])
        self.assertEqual(got.sizes_moved, got.lengths)
        self.assertEqual((got[1].bytes, got[-1].status), (8192, 1))
        with self.assertRaises(IndexError):
            got[10]
        for index in got.found_indices:
            self.assertEqual(memory[index], objects[index])

    def test_the_error_of_an_item_is_raised_with_all_results(self) -> None:
        store = self.open()
        with self.assertRaises(nixl_store.TooLargeError) as caught:
            store.put_batch(["small", "large"], [b"hello", bytes(300 * KIB)])
        results = caught.exception.results
        assert results is not None
        self.assertEqual(results.found, [True, False])
        self.assertIn("262144", str(caught.exception))
        self.assertEqual(caught.exception.name, "NIXL_STORE_ERROR_TOO_LARGE")
        self.assertEqual(store.get("small"), b"hello")

    def test_a_batch_that_cannot_be_one_is_refused(self) -> None:
        store = self.open()
        for keys, memory in [
            (["a", "b"], [b"1"]),
            (["a"], [b"1", b"2"]),
        ]:
            with self.assertRaises(ValueError):
                store.put_batch(keys, memory)
        for keys, memory in [("a", [b"1"]), (["a"], b"1"), (["a"], None)]:
            with self.assertRaises(TypeError):
                store.put_batch(keys, memory)  # type: ignore[arg-type]
        with self.assertRaises(nixl_store.InvalidArgumentError):
            store.put_batch([], [])
        with self.assertRaises(ValueError):
            store.submit_put(["a"], [b"1"], deadline=-1)

    def test_a_ticket_tells_when_it_is_done(self) -> None:
        store = self.open()
        ticket = store.submit_put((str(index) for index in range(50)), [payload(1, 200 * KIB)] * 50)
        self.assertEqual(len(ticket), 50)
        first = ticket.wait()
        self.assertTrue(ticket.done())
        ticket.cancel()
        self.assertEqual(ticket.wait(0).statuses, first.statuses)
        self.assertTrue(first.ok)
        with self.assertRaises(ValueError):
            ticket.wait(-1)

    def test_a_deadline_of_no_time_is_one(self) -> None:
        store = self.open()
        results = store.submit_put(["a"], [b"1"], deadline=float("inf")).wait()
        self.assertTrue(results.ok)
        # It may be in time all the same; what it must not be is taken for the default or refused.
        self.assertIn(store.submit_put(["a"], [b"1"], deadline=0.0).wait().status, (0, -12))


class Admission(StoreTest):
    """``cache_policy: REUSE``, and requests."""

    def full(self) -> nixl_store.Store:
        """A pool of 16 slots, of which 12 hold what is too new to be displaced and four are free."""
        # One thread, or two puts of one batch might take the last slots in the other order.
        store = self.open(nixl_pool_size=16, cache_policy="REUSE", nixl_store_io_threads=1)
        self.assertTrue(store.put_batch([f"old {index}" for index in range(12)], [b"old"] * 12).ok)
        return store

    def test_a_put_that_is_declined_is_an_answer(self) -> None:
        store = self.full()
        keys = [f"new {index}" for index in range(8)]
        self.assertEqual(store.prefix_plan(keys), (0, 4))
        results = store.put_batch(keys, [b"new"] * 8)
        self.assertEqual(results.found, [True] * 4 + [False] * 4)
        self.assertEqual(results.found_indices, [0, 1, 2, 3])
        self.assertEqual((results.ok, results.prefix, results.message), (False, 4, ""))
        self.assertEqual(nixl_store.status_name(results.status), "NIXL_STORE_NOT_ADMITTED")
        other = [f"other {index}" for index in range(3)]
        self.assertEqual(store.prefix_plan(other, request=7), (0, 0))
        self.assertEqual(store.prefix_plan(other, request=7), (0, 0), "asked again, it is the same request")
        self.assertEqual(store.submit_put(other, [b"new"] * 3, request=7).wait().found, [False] * 3)
        self.assertEqual(results.statuses, [0] * 4 + [results.status] * 4)
        self.assertEqual(results.sizes_moved, [3] * 4 + [None] * 4)
        results.raise_for_error()
        # Of one object, by either way through the library.
        self.assertIs(store.put("another", b"new"), False)
        self.assertIs(store.put("one more", b"new", keep=True), False)
        self.assertIsNone(store.get("another"))
        self.assertIs(store.put("old 3", b"newer"), True)
        self.assertIs(store.put("old 3", b"newest", keep=True), True)
        stats = store.stats()
        self.assertEqual((stats.puts_declined, stats.puts_failed), (9, 0))
        self.assertEqual(store.prefix_match(keys), 4)

    def test_what_must_be_stored_is(self) -> None:
        store = self.full()
        self.assertTrue(store.put_batch([f"new {index}" for index in range(6)], [b"new"] * 6, admit=True).ok)
        self.assertIs(store.put("another", b"new", admit=True), True)
        self.assertTrue(store.submit_put(["one more"], [b"new"], admit=True).wait().ok)
        self.assertEqual(store.get("another"), b"new")
        self.assertEqual((store.stats().puts_declined, len(store)), (0, 16))

    def test_other_policies_decline_nothing(self) -> None:
        store = self.open(nixl_pool_size=16)
        keys = [str(index) for index in range(40)]
        self.assertEqual(store.prefix_plan(keys), (0, 40))
        self.assertEqual(store.prefix_plan(keys, object_bytes=100 * KIB), (0, 40))
        self.assertEqual(store.prefix_plan([]), (0, 0))
        self.assertTrue(store.put_batch(keys, [b"1"] * 40).ok)
        self.assertIs(store.put("key", b"1"), True)
        self.assertEqual(store.stats().puts_declined, 0)

    def chain_in_two_batches(self, request: int, *, looked_up: bool = False) -> int:
        """What is left at the front of a chain of eight when others have pushed out four."""
        store = self.open(nixl_pool_size=8)
        chain, memory = [f"chain {index}" for index in range(8)], [b"1"] * 4
        for half in (chain[:4], chain[4:]):
            if looked_up:
                self.assertEqual(store.submit_lookup(half, request=request).wait().prefix, 0)
                self.assertTrue(store.put_batch(half, memory).ok)
            else:
                self.assertTrue(store.put_batch(half, memory, request=request).ok)
                read = [bytearray(1) for _ in half]
                self.assertTrue(store.get_batch(half, read, request=request).ok)
        self.assertTrue(store.put_batch([f"other {index}" for index in range(4)], memory).ok)
        left = store.prefix_match(chain)
        store.clear()
        store.close()
        return left

    def test_batches_of_one_request_are_one_chain(self) -> None:
        # A chain leaves from its end. What is not known to be its end leaves after what is older.
        self.assertEqual(self.chain_in_two_batches(0), 0)
        self.assertEqual(self.chain_in_two_batches(7), 4)
        self.assertEqual(self.chain_in_two_batches(2**64 - 1, looked_up=True), 4)

    def test_a_request_that_cannot_be_one_is_refused(self) -> None:
        store = self.open()
        for request in (-1, 2**64):
            with self.assertRaises(OverflowError):
                store.submit_lookup(["key"], request=request)


class Errors(StoreTest):
    """Opening what cannot be opened."""

    def test_the_configuration_is_named(self) -> None:
        with self.assertRaisesRegex(nixl_store.ConfigError, "nixl_pool_sise.*nixl_pool_size"):
            self.open(nixl_pool_sise=1)
        with self.assertRaisesRegex(TypeError, "use_directio"):
            self.open(use_directio=True)
        with self.assertRaisesRegex(TypeError, "given twice"):
            self.open(extra_config={"nixl_pool_size": 3})
        with self.assertRaises(TypeError):
            nixl_store.Store("a.yaml", settings={})
        with self.assertRaises(nixl_store.ConfigError):
            nixl_store.Store(pathlib.Path(self.folder) / "absent.yaml")
        with self.assertRaises(ValueError):
            nixl_store.Store("a\0b")
        with self.assertRaises(nixl_store.UnsupportedError):
            self.open(nixl_backend="GDS")

    def test_a_file_a_text_and_a_mapping_are_one(self) -> None:
        text = (
            "extra_config:\n  enable_nixl_storage: true\n  nixl_backend: POSIX\n  nixl_pool_size: 4\n"
            f"  nixl_store_chunk_bytes: 65536\n  nixl_path: {self.folder}\n"
        )
        with nixl_store.Store(text=text, cache_namespace="one") as store:
            store.put("key", b"hello")
        path = pathlib.Path(self.folder, "lmcache.yaml")
        path.write_text(text, encoding="utf-8")
        with nixl_store.Store(path, chunk_bytes=65536) as store:
            self.assertIsNone(store.get("key"), "another namespace")
        settings = {"nixl_backend": "POSIX", "nixl_pool_size": 4, "nixl_store_chunk_bytes": 65536}
        settings["extra_config"] = {"nixl_path": self.folder}  # type: ignore[assignment]
        with nixl_store.Store(settings=settings, cache_namespace="one") as store:
            self.assertEqual(store.get("key"), b"hello")

    def test_a_pool_has_one_owner(self) -> None:
        self.open()
        with self.assertRaisesRegex(nixl_store.LockedError, str(os.getpid())):
            self.open()

    def test_the_log_goes_to_logging(self) -> None:
        before = time.time()
        with self.assertLogs("nixl_store", "INFO") as logged:
            self.open()
        after = time.time()
        self.assertTrue(any(self.folder in line for line in logged.output), logged.output)
        for record in logged.records:
            self.assertTrue(before <= record.created <= after, (before, record.created, after))

    def test_a_message_has_the_time_at_which_it_was_sent(self) -> None:
        with self.assertLogs("nixl_store", "INFO") as logged:
            log_message(2, "a message", 1_234_567_890_123_456_789)
        record = logged.records[0]
        self.assertEqual((record.levelname, record.getMessage()), ("WARNING", "a message"))
        self.assertEqual((round(record.created, 6), record.msecs), (1_234_567_890.123457, 123.0))

    def test_a_child_of_fork_may_only_close(self) -> None:
        store = self.open()
        store.put("key", b"hello")
        child = os.fork()
        if child == 0:
            try:
                store.get("key")
                os._exit(1)
            except nixl_store.ForkedError:
                store.close()
                os._exit(0)
            finally:
                os._exit(2)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(store.get("key"), b"hello")


class Header(unittest.TestCase):
    """What the package says again of the C header must be the same."""

    text: str

    @classmethod
    def setUpClass(cls) -> None:
        header = pathlib.Path(__file__).parents[2] / "include" / "nixl_store.h"
        cls.text = header.read_text(encoding="utf-8")

    def fields(self, name: str) -> "list[str]":
        body = re.search(r"typedef struct \{((?:(?!typedef struct).)*?)\} " + name + ";", self.text, re.DOTALL)
        assert body is not None
        code = re.sub(r"/\*.*?\*/", "", body.group(1), flags=re.DOTALL)
        names = re.findall(r"(\w+)(?:\[\d+\])?;", code)
        return [name for name in names if name not in ("struct_size", "reserved")]

    def test_stats_and_capabilities_have_its_fields_in_its_order(self) -> None:
        self.assertEqual(list(Stats._fields), self.fields("nixl_store_stats_t"))
        self.assertEqual(list(Capabilities._fields), self.fields("nixl_store_capabilities_t"))

    def test_each_status_has_its_exception(self) -> None:
        statuses = re.findall(r"#define (NIXL_STORE_(?:ERROR_)?\w+) (-?\d+)\b", self.text)
        errors = {int(number): name for name, number in statuses if name.startswith("NIXL_STORE_ERROR_")}
        self.assertGreater(len(errors), 20)
        for number, name in errors.items():
            error = nixl_store.errors.from_status(number, "words")
            self.assertEqual((error.name, error.status, str(error)), (name, number, "words"))
        plain = [name for number, name in errors.items() if type(nixl_store.errors.from_status(number, "")) is nixl_store.Error]
        self.assertEqual(
            plain, ["NIXL_STORE_ERROR_OUT_OF_RANGE", "NIXL_STORE_ERROR_INTERNAL", "NIXL_STORE_ERROR_NO_RESULT"]
        )
