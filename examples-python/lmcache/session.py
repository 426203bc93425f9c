"""An L2 adapter of LMCache's, driven through LMCache's own interface as its storage controllers drive it.

Each chunk has content of its own that can be made again from its number, so that another process can tell whether what
it was served is right.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import time
from typing import Dict, List, Optional, Sequence

import adapters

RIGHT, MISS, WRONG, ERROR = "right", "miss", "WRONG", "error"
SECONDS_MAX = 20.0


def content(chunk: int, length: int) -> bytes:
    """The bytes of a chunk, which no other chunk has anywhere."""
    return random.Random(chunk).getrandbits(8 * length).to_bytes(length, "little")


class Session:
    """One adapter that is open, with memory to store from and to load into."""

    def __init__(self, adapter: adapters.Adapter, place: adapters.Place) -> None:
        from lmcache.cli.commands.bench.l2_adapter_bench import data
        from lmcache.v1.distributed.l2_adapters import create_l2_adapter
        from lmcache.v1.distributed.l2_adapters.config import parse_args_to_l2_adapters_config

        self._data = data
        self._chunk_bytes = place.chunk_bytes
        # Half of it to store from, half of it to load into: adapters may know only the memory that they were told of.
        half = place.keys * place.chunk_bytes
        memory = data.make_aligned_tensor(2 * half, adapter.align_bytes)
        self._keys = data.make_object_keys(place.keys)
        self._sources = data.make_memory_objects(memory, place.keys, place.chunk_bytes, 0)
        self._targets = data.make_memory_objects(memory, place.keys, place.chunk_bytes, half)
        arguments = argparse.Namespace(l2_adapter=[adapter.spec(place)])
        config = parse_args_to_l2_adapters_config(arguments).adapters[0]
        self._adapter = create_l2_adapter(
            config, l1_memory_desc=data.create_l1_memory_desc(memory, adapter.align_bytes)
        )

    def close(self) -> None:
        """Closes the adapter."""
        self._adapter.close()

    def submit_store(self, chunks: Sequence[int]) -> int:
        """Starts to store these chunks as one task and gives its number."""
        for chunk in chunks:
            ctypes.memmove(self._sources[chunk].data_ptr, content(chunk, self._chunk_bytes), self._chunk_bytes)
        return self._adapter.submit_store_task(
            [self._keys[chunk] for chunk in chunks], [self._sources[chunk] for chunk in chunks]
        )

    def store(self, chunks: Sequence[int]) -> bool:
        """Stores these chunks as one task, of which LMCache is told as a whole only whether it succeeded."""
        task = self.submit_store(chunks)
        done: Dict[int, object] = {}

        def query() -> Optional[object]:
            done.update(self._adapter.pop_completed_store_tasks())
            return done.get(task)

        ended = self._wait(self._adapter.get_store_event_fd(), query)
        if ended is None:
            raise TimeoutError("the store did not end")
        return bool(ended.is_successful())

    def serve(self, chunks: Sequence[int]) -> List[str]:
        """Looks these chunks up and loads those that are said to be there, as a prefetch does; a verdict for each."""
        keys = [self._keys[chunk] for chunk in chunks]
        task = self._adapter.submit_lookup_and_lock_task(keys, {})
        event_fd = self._adapter.get_lookup_and_lock_event_fd()
        found = self._wait(event_fd, lambda: self._adapter.query_lookup_and_lock_result(task))
        if found is None:
            return [ERROR] * len(chunks)
        there = [chunk for at, chunk in enumerate(chunks) if found.test(at)]
        verdicts = {chunk: MISS for chunk in chunks}
        if there:
            verdicts.update(self._load(there))
            self._adapter.submit_unlock([self._keys[chunk] for chunk in there])
        return [verdicts[chunk] for chunk in chunks]

    def _load(self, chunks: List[int]) -> Dict[int, str]:
        for chunk in chunks:
            # So that a load that does nothing is seen.
            ctypes.memset(self._targets[chunk].data_ptr, 0xA5, self._chunk_bytes)
        task = self._adapter.submit_load_task(
            [self._keys[chunk] for chunk in chunks], [self._targets[chunk] for chunk in chunks]
        )
        loaded = self._wait(self._adapter.get_load_event_fd(), lambda: self._adapter.query_load_result(task))
        if loaded is None:
            return {chunk: ERROR for chunk in chunks}
        verdicts = {}
        for at, chunk in enumerate(chunks):
            served = ctypes.string_at(self._targets[chunk].data_ptr, self._chunk_bytes)
            same = served == content(chunk, self._chunk_bytes)
            verdicts[chunk] = MISS if not loaded.test(at) else RIGHT if same else WRONG
        return verdicts

    def _wait(self, event_fd: int, query) -> Optional[object]:
        """Waits as LMCache's controllers do: for the event, then asks; None if nothing came in time."""
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            if self._data.wait_eventfd(event_fd, timeout=1.0):
                answer = query()
                if answer is not None:
                    return answer
        return None
