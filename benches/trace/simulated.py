"""What every simulated policy shares: slots that are taken, and blocks that are stored in them."""

from __future__ import annotations

from typing import Sequence


class SimulatedPool:
    """A pool of slots. A policy says which block leaves, by `_evict`; one that declines has its own `take_slot`."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a pool has at least one slot")
        self.capacity = capacity
        self.evictions = 0
        self._taken = 0  # slots of stored blocks, and of puts under way

    def begin(self, chain: Sequence[int]) -> None:
        """What follows, up to the next call of this, is one request with this chain."""

    def use(self, block: int) -> None:
        """A stored block is got."""
        raise NotImplementedError

    def put_again(self, block: int) -> None:
        """A stored block is put, which keeps what is stored."""

    def take_slot(self, block: int) -> bool:
        """A put of a block that is not stored takes a slot. False: it was declined."""
        if self._taken < self.capacity:
            self._taken += 1
        else:
            self._evict()
            self.evictions += 1
        return True

    def store(self, block: int) -> None:
        """The put that took a slot ends."""
        raise NotImplementedError

    def _evict(self) -> None:
        raise NotImplementedError

    def __contains__(self, block: object) -> bool:
        raise NotImplementedError


class Requests:
    """Which request is served, and when each of its blocks is used.

    The clock counts the blocks of requests and nothing else, so that a policy which measures time by it does the same
    at any speed. A block has the time of its first place in the chain, however often it is in it.
    """

    def __init__(self) -> None:
        self.base = 0  # the clock before the request; what was used later was used by it
        self._clock = 0
        self._times: dict[int, int] = {}

    def begin(self, chain: Sequence[int]) -> None:
        self.base = self._clock
        self._clock += len(chain)
        self._times = {chain[place]: self.base + place + 1 for place in range(len(chain) - 1, -1, -1)}

    def time(self, block: int) -> int:
        return self._times[block]

    def __contains__(self, block: object) -> bool:
        return block in self._times
