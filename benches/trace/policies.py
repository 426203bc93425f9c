"""Exact simulations of the store's eviction policies, fed with requests as the replay feeds the store.

For each request the longest stored prefix of its chain is looked up; each block of it counts as one hit and is used in
the order of the chain; the other blocks are put in that order, unless they are stored. A put takes a free slot, or that
of the block which leaves first by the policy, when it starts, and its block is stored when it ends; REUSE may decline
it instead. `in_flight` says how many puts of one request are between the two at a time; with 1 each starts after the
one before it ended, and the store has to do exactly what the simulation does. With more the simulation is an
approximation: it lets puts end in the order in which they started.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Callable, Container, Optional, Sequence

from orders import Fifo, Lfu, Lru, Mru
from simulated import SimulatedPool
from reuse import Reuse
from tiers import Tier


@dataclass
class Outcome:
    """What one pass over a trace came to, in blocks."""

    hits: int = 0  # in the stored prefix: what an engine need not compute
    block_hits: int = 0  # stored at the time of the lookup, wherever in the chain
    puts: int = 0  # written
    evictions: int = 0
    declined: int = 0  # puts that were not worth what would have left for them
    tier_hits: int = 0  # served by the tier in front, and not asked of the store


@dataclass(frozen=True)
class Variant:
    """A policy as the store is told of it."""

    policy: str
    quantile: Optional[float] = None  # of REUSE; None: the library's default

    @property
    def name(self) -> str:
        return self.policy if self.quantile is None else f"{self.policy} q{self.quantile:g}"

    def pool(self, capacity: int) -> SimulatedPool:
        if self.quantile is not None:
            return Reuse(capacity, quantile=self.quantile)
        return POLICIES[self.policy](capacity)


POLICIES: dict[str, Callable[[int], SimulatedPool]] = {"LRU": Lru, "REUSE": Reuse, "LFU": Lfu, "FIFO": Fifo, "MRU": Mru}


def simulate(requests: Sequence[Sequence[int]], variant: Variant, capacity: int, in_flight: int = 1,
             tier_slots: int = 0) -> Outcome:
    """Replays the requests through a pool of `capacity` slots, which stands behind a tier if that has slots."""
    if in_flight < 1:
        raise ValueError("at least one put is under way")
    pool = variant.pool(capacity)
    tier = Tier(tier_slots)
    outcome = Outcome()
    for chain in requests:
        rest = chain
        if tier_slots:
            tier_hits = prefix_length(chain, tier)
            outcome.tier_hits += tier_hits
            rest = chain[tier_hits:]
            tier.keep(chain)
        if rest:
            _serve(rest, pool, min(in_flight, capacity), outcome)
    outcome.evictions = pool.evictions
    return outcome


def prefix_length(chain: Sequence[int], stored: Container[int]) -> int:
    """How many blocks at the start of the chain are stored."""
    for length, block in enumerate(chain):
        if block not in stored:
            return length
    return len(chain)


def _serve(chain: Sequence[int], pool: SimulatedPool, in_flight: int, outcome: Outcome) -> None:
    """One request: its prefix is got, the rest is put."""
    pool.begin(chain)
    matched = prefix_length(chain, pool)
    outcome.hits += matched
    outcome.block_hits += matched + sum(block in pool for block in chain[matched:])
    for block in chain[:matched]:
        pool.use(block)
    under_way: OrderedDict[int, None] = OrderedDict()
    for block in chain[matched:]:
        if block in pool:
            pool.put_again(block)
        elif block not in under_way:
            if len(under_way) == in_flight:
                pool.store(under_way.popitem(last=False)[0])
            if not pool.take_slot(block):
                outcome.declined += 1
                continue
            outcome.puts += 1
            if in_flight == 1:
                pool.store(block)
            else:
                under_way[block] = None
    for block in under_way:
        pool.store(block)
