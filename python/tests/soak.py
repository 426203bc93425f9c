"""Random stores, loads and deletes by eight threads on a store that evicts all the time.

    python -m tests.soak --minutes 30

Every byte that is loaded is compared; every batch must complete exactly once; in the end nothing is in flight, and memory and
descriptors are what they were after the first tenth. ``make test`` runs it for some seconds, ``SOAK_MINUTES=30 make test-python`` for
half an hour. With ``--adapter`` it drives the adapter for LMCache's type ``plugin`` and needs LMCache.
"""

import argparse
import os
import random
import select
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any, Callable, Optional

THREADS = 8
KEYS = 600
SLOTS = 192
LENGTHS = (4096, 65536, 100_000, 262_144)
BATCH_MAX = 12
# What may come on top of the resident memory at the first tenth: arenas of malloc, Python's own caches.
GROWTH_MAX_BYTES = 48 << 20

Found = Optional[list[bool]]


def content(key: int, length: int) -> bytes:
    """What a key stands for: the same bytes whoever stores it."""
    return random.Random(key).randbytes(length)


class Contents:
    """The contents of all keys, made once."""

    def __init__(self) -> None:
        self.lengths = [LENGTHS[key % len(LENGTHS)] for key in range(KEYS)]
        self.bytes = [content(key, length) for key, length in enumerate(self.lengths)]

    @staticmethod
    def name(key: int) -> str:
        return f"soak/model@{key % 8:08x}@0@{key:032x}"


class Ends:
    """Completions on their way from the thread that drains to the threads that wait."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._ends: dict[int, tuple[bool, Found]] = {}
        self.count = 0

    def put(self, number: int, end: tuple[bool, Found]) -> None:
        with self._lock:
            if number in self._ends:
                raise AssertionError(f"batch {number} completed twice")
            self._ends[number] = end
            self.count += 1
            self._lock.notify_all()

    def take(self, number: int, seconds: float = 60.0) -> tuple[bool, Found]:
        with self._lock:
            if not self._lock.wait_for(lambda: number in self._ends, seconds):
                raise AssertionError(f"batch {number} did not complete within {seconds} s")
            return self._ends.pop(number)

    def left(self) -> int:
        with self._lock:
            return len(self._ends)


class NativePlugin:
    """``Connector``, as LMCache's ``native_plugin`` drives it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from nixl_store.lmcache import Connector

        self.connector = Connector(**settings)
        self.store = self.connector.store
        self.descriptors = [self.connector.event_fd()]

    def drain(self, ends: Ends) -> None:
        for number, went_well, _, found in self.connector.drain_completions():
            ends.put(number, (went_well, found))

    def put(self, ends: Ends, keys: Sequence[str], memory: Sequence[bytearray]) -> bool:
        return ends.take(self.connector.submit_batch_set(keys, [memoryview(one) for one in memory]))[0]

    def get(self, ends: Ends, keys: Sequence[str], memory: Sequence[bytearray]) -> list[bool]:
        found = ends.take(self.connector.submit_batch_get(keys, [memoryview(one) for one in memory]))[1]
        assert found is not None
        return found

    def lookup(self, ends: Ends, keys: Sequence[str]) -> list[bool]:
        found = ends.take(self.connector.submit_batch_exists(keys))[1]
        assert found is not None
        return found

    def delete(self, ends: Ends, keys: Sequence[str]) -> None:
        ends.take(self.connector.submit_batch_delete(keys))

    def close(self) -> None:
        self.connector.close()


class Soak:
    """One run."""

    def __init__(self, target: Any, seconds: float, seed: int) -> None:
        self.target = target
        self.contents = Contents()
        self.ends = Ends()
        self.stop = time.monotonic() + seconds
        self.seed = seed
        self.is_over = False
        self.failures: list[str] = []
        self.counts = {"stored": 0, "hit": 0, "missed": 0, "deleted": 0, "locked": 0}
        self._lock = threading.Lock()

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                self.counts[name] += number

    def _guard(self, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:  # noqa: BLE001 - told at the end
            self.failures.append(f"{type(error).__name__}: {error}")
            self.stop = 0.0

    def _drain(self) -> None:
        poll = select.poll()
        for descriptor in self.target.descriptors:
            poll.register(descriptor, select.POLLIN)
        while not self.is_over:
            if poll.poll(200):
                self.target.drain(self.ends)

    def _work(self, thread: int) -> None:
        choose = random.Random(self.seed * 1000 + thread)
        contents = self.contents
        while time.monotonic() < self.stop and not self.failures:
            # Some keys are asked for much more often than others, as prompts are.
            keys = sorted({int(KEYS * choose.random() ** 2) for _ in range(choose.randint(1, BATCH_MAX))})
            names = [contents.name(key) for key in keys]
            kind = choose.random()
            if kind < 0.45:
                memory = [bytearray(contents.bytes[key]) for key in keys]
                # A pool whose slots are all in use at that moment may refuse; what it says is stored has to be right later.
                self._count(stored=len(keys) if self.target.put(self.ends, names, memory) else 0)
                # The memory is this thread's again: whoever still read it would store rubbish.
                for one in memory:
                    one[:64] = b"\xa5" * 64
            elif kind < 0.9:
                memory = [bytearray(b"\x5a" * contents.lengths[key]) for key in keys]
                found = self.target.get(self.ends, names, memory)
                for key, one, hit in zip(keys, memory, found):
                    if hit and one != contents.bytes[key]:
                        raise AssertionError(f"key {key}: WRONG BYTES")
                self._count(hit=sum(found), missed=len(found) - sum(found))
            elif kind < 0.97:
                self._count(locked=sum(self.target.lookup(self.ends, names)))
            else:
                self.target.delete(self.ends, names[:2])
                self._count(deleted=len(names[:2]))

    def run(self) -> None:
        started = time.monotonic()
        total = self.stop - started
        drain = threading.Thread(target=self._guard, args=(self._drain,))
        drain.start()
        workers = [
            threading.Thread(target=self._guard, args=(lambda thread=thread: self._work(thread),))
            for thread in range(THREADS)
        ]
        for worker in workers:
            worker.start()
        first: Optional[tuple[int, int]] = None
        shown = started
        while any(worker.is_alive() for worker in workers):
            workers[0].join(0.5)
            for worker in workers[1:]:
                worker.join(0.01)
            now = time.monotonic()
            if first is None and now - started > total / 10:
                first = (resident_bytes(), descriptors())
            if now - shown > 60:
                shown = now
                print(f"  {(now - started) / 60:4.0f} min  {self._line()}", flush=True)
        self.is_over = True
        drain.join()
        last = (resident_bytes(), descriptors())
        stats = self.target.store.stats()
        print(f"  {self._line()}, {stats.evictions} evictions, {self.ends.count} batches", flush=True)
        if first is not None:
            print(f"  resident {first[0] >> 20} MiB after a tenth, {last[0] >> 20} MiB at the end; descriptors {first[1]}, {last[1]}")
            if last[0] - first[0] > GROWTH_MAX_BYTES:
                self.failures.append("resident memory grew")
            if last[1] > first[1]:
                self.failures.append("descriptors were not given back")
        if stats.items_in_flight or self.ends.left() or stats.corruptions or stats.keys_pinned:
            self.failures.append(f"something is left: {stats}, {self.ends.left()} completions")
        if not (self.counts["hit"] and stats.evictions):
            self.failures.append("nothing was hit, or nothing evicted: this run proves nothing")

    def _line(self) -> str:
        return ", ".join(f"{number} {name}" for name, number in self.counts.items())


def resident_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open descriptors of this process, without the one that counts them."""
    return len(os.listdir("/proc/self/fd")) - 1


def main() -> int:
    """Runs it; 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dynamic", action="store_true", help="a file for each key, with a capacity, instead of a pool")
    parser.add_argument("--policy", default="LRU", help="the cache_policy")
    parser.add_argument("--adapter", action="store_true", help="the adapter for LMCache's type plugin")
    parser.add_argument("--dir", default=None, help="where the store is made and removed again")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="nixl-store-soak-", dir=arguments.dir)
    settings: dict[str, Any] = {"nixl_backend": "POSIX", "nixl_path": folder, "use_direct_io": True}
    settings["cache_policy"] = arguments.policy
    if arguments.dynamic:
        settings.update(nixl_pool_size=0, nixl_store_capacity_bytes=SLOTS * 108_000)
    else:
        settings.update(nixl_pool_size=SLOTS, nixl_store_chunk_bytes=max(LENGTHS))
    try:
        if arguments.adapter:
            from .soak_adapter import Plugin

            target: Any = Plugin(settings)
        else:
            target = NativePlugin(settings)
        soak = Soak(target, arguments.minutes * 60, arguments.seed)
        soak.run()
        target.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for failure in soak.failures:
        print(f"  FAILED: {failure}", file=sys.stderr)
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
