"""What no policy can beat: the best possible evictions, and a cache that never evicts.

Belady's MIN keeps the blocks whose next reference is nearest. Here it may also leave a block out that is referenced
later than everything stored, and it sees one block after the other. With that, its hits on the string of all block
references are at least the prefix hits of any policy with as many slots: whatever a policy keeps, MIN could keep, and
blocks that are found count for MIN wherever they are in their chain.

The bound is reached where every block has one predecessor, as a hash of all tokens up to its end has. The predecessor
is then referenced by every request that the block is in, and before it; so MIN never keeps a block without it, and all
its hits are prefix hits. `Bound.prefix_hits` counts those by themselves, so that this is checked and not assumed.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Sequence

from policies import prefix_length

_NEVER = 1 << 62


@dataclass
class Bound:
    """Hits of MIN, in blocks."""

    block_hits: int = 0  # the bound
    prefix_hits: int = 0  # those in a prefix of which all was found


def belady(requests: Sequence[Sequence[int]], capacity: int) -> Bound:
    """Hits of MIN with `capacity` slots, in O(n log n) for n block references."""
    next_references = _next_references(requests)
    stored: dict[int, int] = {}  # block to its next reference
    farthest: list[tuple[int, int]] = []  # by next reference, farthest first; outdated entries are skipped
    bound = Bound()
    place = 0
    for chain in requests:
        whole_so_far = True
        for block in chain:
            next_reference = next_references[place]
            place += 1
            hit = block in stored
            bound.block_hits += hit
            whole_so_far &= hit
            bound.prefix_hits += whole_so_far
            if next_reference == _NEVER:
                stored.pop(block, None)
            elif hit or _make_room(stored, farthest, capacity, next_reference):
                stored[block] = next_reference
                heapq.heappush(farthest, (-next_reference, block))
    return bound


def unbounded(requests: Sequence[Sequence[int]]) -> int:
    """Prefix hits of a cache that never evicts."""
    seen: set[int] = set()
    hits = 0
    for chain in requests:
        hits += prefix_length(chain, seen)
        seen.update(chain)
    return hits


def _next_references(requests: Sequence[Sequence[int]]) -> list[int]:
    """For each block reference, the place of the next one of the same block."""
    references = [block for chain in requests for block in chain]
    latest: dict[int, int] = {}
    following = [_NEVER] * len(references)
    for place in range(len(references) - 1, -1, -1):
        following[place] = latest.get(references[place], _NEVER)
        latest[references[place]] = place
    return following


def _make_room(stored: dict[int, int], farthest: list[tuple[int, int]], capacity: int, next_reference: int) -> bool:
    """Frees a slot for a block with this next reference. False: everything stored is needed sooner."""
    if len(stored) < capacity:
        return True
    while farthest:
        reference, block = -farthest[0][0], farthest[0][1]
        if stored.get(block) == reference:
            if reference < next_reference:
                return False
            del stored[block]
            heapq.heappop(farthest)
            return True
        heapq.heappop(farthest)
    return False
