"""REUSE: a block that is new may only displace one that has been idle for longer than most reuses took.

Blocks seen once and blocks seen again are two leaf-first lists. Ghosts remember when blocks were seen that left or were
declined. One number is learned: tau, a running quantile of the gaps between two sights of a block, in blocks of
requests. What may not displace anything is not written. All arithmetic is that of the store: IEEE doubles, in the same
order of operations.
"""

from __future__ import annotations

from typing import Optional, Sequence

from ghosts import Ghosts, tag_of
from orders import LeafFirst
from simulated import Requests, SimulatedPool

QUANTILE = 0.6
GHOST_ENTRIES = 8
# How far one gap moves tau.
_STEP = 0.002
# Below it tau would be shorter than many a request.
_TAU_MIN = 16.0
# Blocks of the request itself that the search for a victim steps over, so that no put walks a whole pool.
PASSED_OVER_MAX = 64
# What was seen again is owed twice the time.
_WEIGHT_ONCE, _WEIGHT_AGAIN = 1, 2


class Reuse(SimulatedPool):
    """A pool that declines puts."""

    def __init__(self, capacity: int, quantile: float = QUANTILE, ghost_entries: int = GHOST_ENTRIES) -> None:
        super().__init__(capacity)
        self.tau = max(_TAU_MIN, capacity / 2)
        self._longer = 1 + _STEP * quantile
        self._shorter = 1 - _STEP * (1 - quantile)
        self._requests = Requests()
        self._once, self._again = LeafFirst(), LeafFirst()
        self._ghosts = Ghosts(capacity, ghost_entries)
        self._request_declined = False
        self._returning: dict[int, bool] = {}  # puts under way: whether the block was seen before

    def begin(self, chain: Sequence[int]) -> None:
        self._requests.begin(chain)
        self._request_declined = False

    def use(self, block: int) -> None:
        base, now = self._requests.base, self._requests.time(block)
        for line in (self._once, self._again):
            last = line.last(block)
            if last is not None and last <= base:
                self._seen(now - last)
                line.remove(block)
                self._again.touch(block, base, now)
                return

    put_again = use

    def take_slot(self, block: int) -> bool:
        base, now, tag = self._requests.base, self._requests.time(block), tag_of(block)
        ghost = self._ghosts.seen_at(tag)
        # Declined in this very request: a retry, or a block that is twice in the chain, is no second sight.
        own = ghost is not None and ghost > base
        if ghost is None or own:
            returning, due = False, self.tau
        else:
            gap = now - ghost
            self._seen(gap)
            # A block that returns needs half its own gap, or a loop larger than the pool would get nothing.
            returning, due = True, min(gap, self.tau) / 2
        victim_tag, victim_last = 0, 0
        if self._taken < self.capacity:
            self._taken += 1
        else:
            # What is behind a block that is not stored would be of no use.
            found = None if self._request_declined else self._find_victim(now, due)
            if found is None:
                self._request_declined = True
                if not own:
                    self._ghosts.put(tag, now)
                return False
            line, victim = found
            victim_tag, victim_last = tag_of(victim), line.remove(victim)
            self.evictions += 1
        # In this order the entry that becomes free serves the victim, where both share a set.
        self._ghosts.remove(tag)
        if victim_tag:
            self._ghosts.put(victim_tag, victim_last)
        self._returning[block] = returning
        return True

    def store(self, block: int) -> None:
        line = self._again if self._returning.pop(block, False) else self._once
        line.touch(block, self._requests.base, self._requests.time(block))

    def __contains__(self, block: object) -> bool:
        return block in self._once or block in self._again

    def _find_victim(self, now: int, due: float) -> Optional[tuple[LeafFirst, int]]:
        """The block that was idle for longest, of those that this request does not use; None if that is not for long
        enough."""
        passed_over: list[tuple[LeafFirst, tuple[int, int, int]]] = []
        try:
            while len(passed_over) < PASSED_OVER_MAX:
                once, once_idle = self._candidate(self._once, now, _WEIGHT_ONCE)
                again, again_idle = self._candidate(self._again, now, _WEIGHT_AGAIN)
                line, block, idle = self._once, once, once_idle
                if again_idle > once_idle:
                    line, block, idle = self._again, again, again_idle
                if block is None:
                    return None
                if block not in self._requests:
                    return None if idle < due else (line, block)
                # It is put soon, and would be missed then.
                passed_over.append((line, line.put_aside()))
            return None
        finally:
            for line, entry in passed_over:
                line.give_back(entry)

    def _candidate(self, line: LeafFirst, now: int, weight: int) -> tuple[Optional[int], float]:
        """The oldest block of a list and its weighed idle time; none where all others are of this request too."""
        block = line.oldest()
        last = now if block is None else line.last(block)
        assert last is not None
        return (block, (now - last) / weight) if last <= self._requests.base else (None, -1.0)

    def _seen(self, gap: int) -> None:
        self.tau = max(_TAU_MIN, self.tau * (self._longer if gap > self.tau else self._shorter))
