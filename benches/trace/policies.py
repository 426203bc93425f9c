"""Exact simulations of the store's eviction policies, fed with requests as the replay feeds the store.

For each request the longest stored prefix of its chain is looked up; each block of it counts as one hit and is used in
the order of the chain; the other blocks are put in that order, unless they are stored. A put takes a free slot, or that
of the block which leaves first by the policy, when it starts, and its block is stored when it ends. `in_flight` says
how many puts of one request are between the two at a time; with 1 each starts after the one before it ended.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Callable, Protocol, Sequence


@dataclass
class Outcome:
    """What one pass over a trace came to, in blocks."""

    hits: int = 0  # in the stored prefix: what an engine need not compute
    block_hits: int = 0  # stored at the time of the lookup, wherever in the chain
    puts: int = 0
    evictions: int = 0


class Order(Protocol):
    """Who leaves next."""

    def add(self, block: int) -> None: ...

    def use(self, block: int) -> None: ...

    def evict(self) -> None: ...

    def __contains__(self, block: int) -> bool: ...

    def __len__(self) -> int: ...


class Recency:
    """FIFO, LRU and MRU: one line, in the order of arrival or of the last use."""

    def __init__(self, uses_count: bool, newest_first: bool) -> None:
        self._line: OrderedDict[int, None] = OrderedDict()
        self._uses_count = uses_count
        self._newest_first = newest_first

    def add(self, block: int) -> None:
        self._line[block] = None

    def use(self, block: int) -> None:
        if self._uses_count:
            self._line.move_to_end(block)

    def evict(self) -> None:
        self._line.popitem(last=self._newest_first)

    def __contains__(self, block: int) -> bool:
        return block in self._line

    def __len__(self) -> int:
        return len(self._line)


class Frequency:
    """LFU: a put is the first use; of equally frequent blocks the one leaves that has been so for longest."""

    def __init__(self) -> None:
        self._rank: dict[int, tuple[int, int]] = {}  # uses, then when it came to have so many
        self._heap: list[tuple[int, int, int]] = []  # rank and block; outdated entries are skipped
        self._clock = 0

    def add(self, block: int) -> None:
        self._set(block, 1)

    def use(self, block: int) -> None:
        self._set(block, self._rank[block][0] + 1)

    def evict(self) -> None:
        while True:
            uses, since, block = heapq.heappop(self._heap)
            if self._rank.get(block) == (uses, since):
                del self._rank[block]
                return

    def __contains__(self, block: int) -> bool:
        return block in self._rank

    def __len__(self) -> int:
        return len(self._rank)

    def _set(self, block: int, uses: int) -> None:
        self._clock += 1
        self._rank[block] = (uses, self._clock)
        heapq.heappush(self._heap, (uses, self._clock, block))


POLICIES: dict[str, Callable[[], Order]] = {
    "LRU": lambda: Recency(uses_count=True, newest_first=False),
    "LFU": Frequency,
    "FIFO": lambda: Recency(uses_count=False, newest_first=False),
    "MRU": lambda: Recency(uses_count=True, newest_first=True),
}


def simulate(requests: Sequence[Sequence[int]], policy: str, capacity: int, in_flight: int = 1) -> Outcome:
    """Replays the requests through a pool of `capacity` slots."""
    if capacity < 1 or in_flight < 1:
        raise ValueError("a pool has at least one slot, and at least one put is under way")
    order = POLICIES[policy]()
    outcome = Outcome()
    for chain in requests:
        matched = prefix_length(chain, order)
        outcome.hits += matched
        outcome.block_hits += matched + sum(block in order for block in chain[matched:])
        for block in chain[:matched]:
            order.use(block)
        _put_all(chain[matched:], order, capacity, in_flight, outcome)
    return outcome


def prefix_length(chain: Sequence[int], stored: Order | set[int]) -> int:
    """How many blocks at the start of the chain are stored."""
    for length, block in enumerate(chain):
        if block not in stored:
            return length
    return len(chain)


def _put_all(blocks: Sequence[int], order: Order, capacity: int, in_flight: int, outcome: Outcome) -> None:
    under_way: deque[int] = deque()
    for block in blocks:
        if block in order:
            continue
        if len(under_way) == min(in_flight, capacity):
            order.add(under_way.popleft())
        if len(order) + len(under_way) == capacity:
            order.evict()
            outcome.evictions += 1
        under_way.append(block)
        outcome.puts += 1
    for block in under_way:
        order.add(block)
