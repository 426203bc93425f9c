"""The policies that write everything: LRU, LFU, FIFO and MRU differ only in who leaves."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import Optional, Sequence

from simulated import Requests, SimulatedPool


class LeafFirst:
    """Blocks in the order in which they leave: first those of the request that is longest ago, and of one request the
    one that is deepest in its chain, because what is behind a block that left is of no use.

    A heap of which outdated entries are skipped: blocks may be put again at any place of a chain.
    """

    def __init__(self) -> None:
        self._last: dict[int, int] = {}  # block to the time of its last use
        self._heap: list[tuple[int, int, int]] = []  # (request, later blocks of it first, block)

    def touch(self, block: int, base: int, time: int) -> None:
        """A request that began at `base` uses the block at `time`."""
        self._last[block] = time
        heapq.heappush(self._heap, (base, -time, block))

    def last(self, block: int) -> Optional[int]:
        return self._last.get(block)

    def remove(self, block: int) -> int:
        """Forgets the block and returns when it was used."""
        return self._last.pop(block)

    def oldest(self) -> Optional[int]:
        heap = self._heap
        while heap:
            _, negative_time, block = heap[0]
            if self._last.get(block) == -negative_time:
                return block
            heapq.heappop(heap)
        return None

    def put_aside(self) -> tuple[int, int, int]:
        """Takes the oldest one out of the order, but not off the list; to be given back."""
        return heapq.heappop(self._heap)

    def give_back(self, entry: tuple[int, int, int]) -> None:
        heapq.heappush(self._heap, entry)

    def __contains__(self, block: object) -> bool:
        return block in self._last

    def __len__(self) -> int:
        return len(self._last)


class Lru(SimulatedPool):
    """The block leaves whose request is longest ago, the end of a chain before its beginning."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._requests = Requests()
        self._line = LeafFirst()

    def begin(self, chain: Sequence[int]) -> None:
        self._requests.begin(chain)

    def use(self, block: int) -> None:
        base, last = self._requests.base, self._line.last(block)
        if last is not None and last <= base:
            self._line.touch(block, base, self._requests.time(block))

    put_again = use

    def store(self, block: int) -> None:
        self._line.touch(block, self._requests.base, self._requests.time(block))

    def _evict(self) -> None:
        oldest = self._line.oldest()
        assert oldest is not None, "a full pool has at least one block that is not under way"
        self._line.remove(oldest)

    def __contains__(self, block: object) -> bool:
        return block in self._line


class _Line(SimulatedPool):
    """One line, in the order of arrival or of the last get."""

    def __init__(self, capacity: int, newest_first: bool) -> None:
        super().__init__(capacity)
        self._line: OrderedDict[int, None] = OrderedDict()
        self._newest_first = newest_first

    def store(self, block: int) -> None:
        self._line[block] = None

    def _evict(self) -> None:
        self._line.popitem(last=self._newest_first)

    def __contains__(self, block: object) -> bool:
        return block in self._line


class Fifo(_Line):
    """The block leaves that came first, however it is used."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, newest_first=False)

    def use(self, block: int) -> None:
        pass


class Mru(_Line):
    """The block leaves that was used last."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, newest_first=True)

    def use(self, block: int) -> None:
        self._line.move_to_end(block)


class Lfu(SimulatedPool):
    """A put is the first use; of equally frequent blocks the one leaves that has been so for longest."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._rank: dict[int, tuple[int, int]] = {}  # uses, then when it came to have so many
        self._heap: list[tuple[int, int, int]] = []  # rank and block; outdated entries are skipped
        self._clock = 0

    def use(self, block: int) -> None:
        self._set(block, self._rank[block][0] + 1)

    def store(self, block: int) -> None:
        self._set(block, 1)

    def _evict(self) -> None:
        while True:
            uses, since, block = heapq.heappop(self._heap)
            if self._rank.get(block) == (uses, since):
                del self._rank[block]
                return

    def __contains__(self, block: object) -> bool:
        return block in self._rank

    def _set(self, block: int, uses: int) -> None:
        self._clock += 1
        self._rank[block] = (uses, self._clock)
        heapq.heappush(self._heap, (uses, self._clock, block))
