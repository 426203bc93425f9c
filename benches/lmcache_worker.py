"""The benchmark's worker around LMCache's NixlStorageBackend: the same commands and answers as benches/worker.

Runs with the Python of the peers' environment. LMCache's own settings are those of its documentation for a POSIX pool
on the CPU; the memory of the objects is LMCache's own (its paged allocator), which is registered with NIXL once.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import sys
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple

os.environ.setdefault("LMCACHE_LOG_LEVEL", "ERROR")
os.environ.setdefault("LMCACHE_TRACK_USAGE", "false")

import nixl_cu12
import nixl_cu12._api

# The package named nixl does nothing but choose the one for this machine's CUDA version, which would be this one.
sys.modules.setdefault("nixl", nixl_cu12)
sys.modules.setdefault("nixl._api", nixl_cu12._api)

import numpy
import torch
from lmcache.utils import CacheEngineKey
from lmcache.v1.config import LMCacheEngineConfig
from lmcache.v1.memory_management import MemoryFormat, MemoryObj
from lmcache.v1.metadata import LMCacheMetadata
from lmcache.v1.storage_backend.local_cpu_backend import LocalCPUBackend
from lmcache.v1.storage_backend.nixl_storage_backend import NixlStorageBackend

PAGE_BYTES = 4096
TOKENS = 256
HEAD_BYTES = 128
LAYER_BYTES = 2 * TOKENS * HEAD_BYTES
HUGE_PAGE_BYTES = 2 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25


class Span(NamedTuple):
    """Wall and CPU time of this process, or a difference of two."""

    wall_s: float
    user_s: float
    system_s: float

    @staticmethod
    def now() -> "Span":
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Span(time.perf_counter(), usage.ru_utime, usage.ru_stime)

    def since(self, start: "Span") -> "Span":
        return Span(*(end - begin for end, begin in zip(self, start)))

    def plus(self, other: "Span") -> "Span":
        return Span(*(one + two for one, two in zip(self, other)))


def payload(object_bytes: int) -> numpy.ndarray:
    """Pages of random words, from which those of all objects are made."""
    generator = numpy.random.Generator(numpy.random.SFC64(1))
    return generator.integers(0, 1 << 63, size=(object_bytes // PAGE_BYTES, PAGE_BYTES // 8), dtype=numpy.int64)


def fill(pages: numpy.ndarray, source: numpy.ndarray, identity: int, seed: int) -> None:
    """Makes the pages those of one object; each says whose it is, so that a stale object and a swapped page show."""
    numpy.bitwise_xor(source, identity * 0x9E3779B97F4A7C15 + seed & (1 << 63) - 1, out=pages)
    pages[:, 0] = 0x6E69786C62656E63
    pages[:, 1] = identity
    pages[:, 2] = seed
    pages[:, 3] = numpy.arange(len(pages))


def use_huge_pages(address: int, length: int) -> None:
    """Puts memory on huge pages where the system has them, as benches/worker/memory.c does for the other engines."""
    first = -(-address // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
    whole = (address + length - first) // HUGE_PAGE_BYTES * HUGE_PAGE_BYTES
    library = ctypes.CDLL(None)
    if whole > 0:
        library.madvise(ctypes.c_void_p(first), ctypes.c_size_t(whole), MADV_HUGEPAGE)
        library.madvise(ctypes.c_void_p(first), ctypes.c_size_t(whole), MADV_COLLAPSE)


class Session:
    """One opened backend."""

    def __init__(self, fields: Dict[str, str]) -> None:
        self.object_bytes = int(fields["object_bytes"])
        self.live_objects = int(fields["live_objects"])
        self.memory_objects = int(fields["memory_objects"])
        self.dynamic = fields.get("mode", "static") == "dynamic"
        if self.object_bytes % LAYER_BYTES:
            raise ValueError(f"LMCache's objects are whole layers of {LAYER_BYTES} bytes here")
        self.first_id = self.next_id = 0
        self.seeds: Dict[int, int] = {}
        self.source = payload(self.object_bytes)
        self.expected = numpy.empty_like(self.source)

        layers = self.object_bytes // LAYER_BYTES
        shape = (layers, 2, TOKENS, 1, HEAD_BYTES // 2)
        self.shape = torch.Size([2, layers, TOKENS, HEAD_BYTES // 2])
        metadata = LMCacheMetadata(
            model_name="llama-3.1-8b-instruct", world_size=1, local_world_size=1, worker_id=0, local_worker_id=0,
            kv_dtype=torch.bfloat16, kv_shape=shape, chunk_size=TOKENS,
        )
        config = LMCacheEngineConfig.from_defaults(
            chunk_size=TOKENS, local_cpu=False, save_unfull_chunk=False, cache_policy="FIFO",
            # Gets allocate while puts' objects are still held, and the allocator wants some to spare.
            max_local_cpu_size=(self.memory_objects + 1) * self.object_bytes / (1 << 30),
            nixl_buffer_device="cpu",
            extra_config=self.storage(fields),
        )
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.memory = LocalCPUBackend(config, metadata, "cpu")
        self.backend = NixlStorageBackend.CreateNixlStorageBackend(config, self.loop, metadata, self.memory)
        allocator = self.backend.memory_allocator
        ctypes.memset(allocator.buffer_ptr, 0, allocator.buffer_size)
        use_huge_pages(allocator.buffer_ptr, allocator.buffer_size)

    def storage(self, fields: Dict[str, str]) -> Dict[str, Any]:
        """LMCache's settings of where objects go."""
        return {
            "enable_nixl_storage": True,
            "nixl_backend": "POSIX",
            "nixl_pool_size": 0 if self.dynamic else self.live_objects + self.memory_objects,
            "nixl_path": fields["directory"],
            "use_direct_io": fields.get("direct", "1") == "1",
            "nixl_backend_params": {fields.get("queue", "use_uring"): "true"},
        }

    def key(self, identity: int) -> CacheEngineKey:
        return CacheEngineKey("llama-3.1-8b-instruct", 1, 0, identity * 0x9E3779B97F4A7C15 % (1 << 64), torch.bfloat16)

    def pages(self, memory_object: MemoryObj) -> numpy.ndarray:
        """The bytes of an object of LMCache's memory, as pages of words."""
        address = memory_object.tensor.data_ptr()
        words = (ctypes.c_int64 * (self.object_bytes // 8)).from_address(address)
        return numpy.frombuffer(words, dtype=numpy.int64).reshape(-1, PAGE_BYTES // 8)

    def allocate(self, count: int) -> List[MemoryObj]:
        objects = self.memory.batched_allocate(self.shape, torch.bfloat16, count, MemoryFormat.KV_2LTD, busy_loop=False)
        if objects is None or any(one is None for one in objects):
            raise MemoryError(f"LMCache's allocator has no room for {count} objects")
        return objects

    def wait_for_puts(self) -> None:
        """A put runs as one piece on the backend's loop, so what is scheduled after it runs after it."""

        async def nothing() -> None:
            return None

        asyncio.run_coroutine_threadsafe(nothing(), self.loop).result()

    def put_batch(self, identities: List[int], objects: List[MemoryObj]) -> Span:
        keys = [self.key(identity) for identity in identities]
        start = Span.now()
        self.backend.batched_submit_put_task(keys, objects)
        if not self.dynamic:
            self.wait_for_puts()
        return Span.now().since(start)

    def get_batch(self, identities: List[int]) -> "tuple[Span, List[MemoryObj]]":
        keys = [self.key(identity) for identity in identities]
        start = Span.now()
        objects = self.backend.batched_get_blocking(keys)
        span = Span.now().since(start)
        if len(objects) != len(keys) or any(one is None for one in objects):
            raise RuntimeError(f"LMCache found {sum(one is not None for one in objects)} of {len(keys)} objects")
        return span, objects

    def free(self, objects: List[MemoryObj]) -> None:
        for one in objects:
            one.ref_count_down()

    def poison(self) -> None:
        """Overwrites all of LMCache's memory that is free, so that no object is there already."""
        objects = self.allocate(self.memory_objects)
        for one in objects:
            self.pages(one).fill(-0x5A5A5A5A5A5A5A5B)
        self.free(objects)

    def check(self, identities: List[int], objects: List[MemoryObj], what: str) -> None:
        for identity, one in zip(identities, objects):
            fill(self.expected, self.source, identity, self.seeds[identity])
            if not numpy.array_equal(self.pages(one), self.expected):
                raise RuntimeError(f"{what}: WRONG BYTES in object {identity}")

    def put_one_batch(self, count: int, seed: int) -> "tuple[Span, List[int]]":
        """Puts fresh objects; filling them is not timed."""
        identities = list(range(self.next_id, self.next_id + count))
        objects = self.allocate(count)
        for identity, one in zip(identities, objects):
            self.seeds[identity] = seed
            fill(self.pages(one), self.source, identity, seed)
        span = self.put_batch(identities, objects)
        self.free(objects)
        self.next_id += count
        if not self.dynamic and self.next_id - self.first_id > self.live_objects:
            self.first_id = self.next_id - self.live_objects
        return span, identities

    def put(self, fields: Dict[str, str]) -> Dict[str, Any]:
        count, repetitions, seed = batch_fields(fields, self.memory_objects)
        total = Span(0, 0, 0)
        identities: List[int] = []
        for _ in range(repetitions):
            span, identities = self.put_one_batch(count, seed)
            total = total.plus(span)
        self.poison()
        _, objects = self.get_batch(identities)
        self.check(identities, objects, "reading back what was put")
        self.free(objects)
        return timed(total, count * repetitions * self.object_bytes)

    def get(self, fields: Dict[str, str]) -> Dict[str, Any]:
        count, repetitions, seed = batch_fields(fields, self.memory_objects)
        batches = (self.next_id - self.first_id) // count
        total = Span(0, 0, 0)
        for repetition in range(repetitions):
            first = self.next_id - count * (1 + (seed + repetition) % batches)
            identities = list(range(first, first + count))
            self.poison()
            span, objects = self.get_batch(identities)
            total = total.plus(span)
            if repetition == repetitions - 1:
                self.check(identities, objects, "get")
            self.free(objects)
        return timed(total, count * repetitions * self.object_bytes)

    def latency(self, fields: Dict[str, str]) -> Dict[str, Any]:
        count, seed = int(fields.get("count", "200")), int(fields.get("seed", "0"))
        samples: List[float] = []
        for index in range(count):
            if fields.get("operation", "get") == "put":
                span, _ = self.put_one_batch(1, seed)
            else:
                identity = self.first_id + (seed + index * 7919) % (self.next_id - self.first_id)
                span, objects = self.get_batch([identity])
                self.check([identity], objects, "get")
                self.free(objects)
            samples.append(span.wall_s * 1e6)
        return {"samples_us": samples, "verified": True}

    def remove(self, _fields: Dict[str, str]) -> Dict[str, Any]:
        for identity in range(self.first_id, self.next_id):
            self.backend.remove(self.key(identity))
        self.first_id = self.next_id
        return {}

    def close(self) -> None:
        self.backend.close()
        self.memory.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


def batch_fields(fields: Dict[str, str], batch_max: int) -> "tuple[int, int, int]":
    return int(fields.get("batch", batch_max)), int(fields.get("repetitions", "1")), int(fields.get("seed", "0"))


def timed(total: Span, moved_bytes: int) -> Dict[str, Any]:
    return {
        "seconds": total.wall_s, "user_s": total.user_s, "system_s": total.system_s, "bytes": moved_bytes,
        "verified": True,
    }


class Worker:
    """Commands to a session."""

    def __init__(self) -> None:
        self.session: "Session | None" = None

    def run(self, name: str, fields: Dict[str, str]) -> Dict[str, Any]:
        if name == "open":
            self.session = Session(fields)
            return {}
        if self.session is None:
            raise RuntimeError("open comes first")
        if name == "close":
            self.session.close()
            self.session = None
            return {}
        commands: Dict[str, Callable[[Dict[str, str]], Dict[str, Any]]] = {
            "put": self.session.put, "get": self.session.get, "latency": self.session.latency,
            "remove": self.session.remove,
        }
        if name not in commands:
            raise RuntimeError(f"LMCache does not serve {name}")
        return commands[name](fields)


def main() -> None:
    # Libraries print to standard output; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        words = line.strip().split("\t" if "\t" in line else " ")
        if words[0] == "quit":
            break
        try:
            fields = dict(word.split("=", 1) for word in words[1:])
            answer: Dict[str, Any] = {"ok": True, **worker.run(words[0], fields)}
        except Exception as error:  # every failure is an answer
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)
    os._exit(0)


if __name__ == "__main__":
    main()
