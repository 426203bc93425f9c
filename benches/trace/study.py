"""The study: which pools are replayed, what each is compared with, and what must hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence

from blocks import Request
from bounds import belady, unbounded
from policies import Outcome, Variant, simulate
from runner import Measured, Pool, RunError, Runner

# More than any request has: all puts of a request are under way at once.
_WHOLE_REQUEST = 1 << 20
# Chunks of the exact check: it counts hits, so the bytes may be few.
_CHECK_CHUNK_BYTES = 4096
# The two that are compared most closely: the default, and the one that does not write everything.
COMPARED = (Variant("LRU"), Variant("REUSE"))
VARIANTS = (*COMPARED, Variant("REUSE", 0.8), Variant("LFU"), Variant("FIFO"), Variant("MRU"))

Record = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to be replayed."""

    percents: Sequence[float]  # pool sizes, of the distinct blocks
    variants: Sequence[Variant]
    chunk_bytes: int
    check_percents: Sequence[float]  # pools of the exact check of LRU and REUSE
    check_percent: float  # pool of the exact check of the others
    tier_percent: float  # blocks of the tier in front, of the distinct blocks; 0: no replay behind a tier
    large_percent: float  # pool of the run with large chunks
    large_chunk_bytes: int


class Study:
    """A trace, and what becomes of it under each policy and pool size."""

    def __init__(self, requests: Sequence[Request], runner: Runner, plan: Plan) -> None:
        self.requests = requests
        self.plan = plan
        self.references = sum(map(len, requests))
        self.distinct = len({block for chain in requests for block in chain})
        self._runner = runner
        self._bounds: dict[int, Record] = {}
        self._outcomes: dict[tuple[Variant, int, int, int], Outcome] = {}

    def slots(self, percent: float) -> int:
        return max(1, round(self.distinct * percent / 100))

    def largest(self) -> Pool:
        """The pool that needs the most room."""
        pools = [Pool(COMPARED[0], self.slots(max(self.plan.percents)), self.plan.chunk_bytes)]
        pools.append(Pool(COMPARED[0], self.slots(self.plan.large_percent), self.plan.large_chunk_bytes))
        return max(pools, key=Pool.disk_bytes)

    def unbounded_hits(self) -> int:
        return unbounded(self.requests)

    def bound(self, percent: float) -> Record:
        slots = self.slots(percent)
        if slots not in self._bounds:
            found = belady(self.requests, slots)
            self._bounds[slots] = {
                "percent": percent,
                "slots": slots,
                "min_hits": found.block_hits,
                "min_prefix_hits": found.prefix_hits,
            }
        return self._bounds[slots]

    def curve(self, variant: Variant, percents: Sequence[float]) -> list[tuple[float, Outcome]]:
        """Simulations, for pool sizes between those that are replayed too."""
        return [(percent, self._simulate(variant, self.slots(percent), _WHOLE_REQUEST)) for percent in percents]

    def matrix(self, tell: Callable[[Record], None]) -> list[Record]:
        """Each policy with each pool size, request by request in whole batches. Where nothing has to be evicted the
        policies are the same, and the first one speaks for all."""
        records = []
        for percent in self.plan.percents:
            alike = self.slots(percent) >= self.distinct
            lru_puts: Optional[int] = None
            for variant in self.plan.variants[:1] if alike else self.plan.variants:
                record = self._replay(Pool(variant, self.slots(percent), self.plan.chunk_bytes), percent)
                if variant == COMPARED[0]:
                    lru_puts = record["puts"]
                record["lru_puts"] = lru_puts
                tell(record)
                records.append(record)
        return records

    def large(self) -> Record:
        """One replay with larger chunks, for the bytes."""
        pool = Pool(COMPARED[0], self.slots(self.plan.large_percent), self.plan.large_chunk_bytes)
        return self._replay(pool, self.plan.large_percent)

    def exact_checks(self, tell: Callable[[Record], None]) -> list[Record]:
        """Each policy block by block in memory, where nothing is left to the timing of transfers."""
        records = []
        for variant in self.plan.variants:
            for percent in self.plan.check_percents if variant in COMPARED else (self.plan.check_percent,):
                records.append(self._replay_exactly(variant, percent, tier_slots=0))
                tell(records[-1])
        return records

    def behind_tier(self, tell: Callable[[Record], None]) -> list[Record]:
        """LRU and REUSE behind a tier in memory, which are checked exactly too."""
        records = []
        for percent in self.plan.percents if self.plan.tier_percent else ():
            for variant in self.plan.variants:
                if variant in COMPARED and self.slots(percent) < self.distinct:
                    records.append(self._replay_exactly(variant, percent, self.slots(self.plan.tier_percent)))
                    tell(records[-1])
        return records

    def _replay_exactly(self, variant: Variant, percent: float, tier_slots: int) -> Record:
        """Hits, stored blocks, puts, evictions and what was declined have to be those of the simulation, to the last
        one."""
        pool = Pool(variant, self.slots(percent), _CHECK_CHUNK_BYTES, in_memory=True, tier_slots=tier_slots)
        measured = self._runner.replay(pool, batch_max=1)
        outcome = self._simulate(variant, pool.slots, 1, tier_slots)
        counted = {
            "hits": measured["get"]["blocks"],
            "block_hits": measured["get"]["blocks"] + measured["blocks_behind"],
            "puts": measured["put"]["blocks"],
            "evictions": measured["evictions"],
            "declined": measured["blocks_declined"],
            "tier_hits": measured["tier_hits"],
        }
        if counted != vars(outcome):
            raise RunError(f"{pool}, block by block: counted {counted}, but simulated {outcome}")
        return {
            "policy": variant.name,
            "percent": percent,
            "slots": pool.slots,
            "tier_slots": tier_slots,
            "counted": counted,
            "simulated": vars(outcome),
        }

    def _replay(self, pool: Pool, percent: float) -> Record:
        one_by_one = self._simulate(pool.variant, pool.slots, 1)
        at_once = self._simulate(pool.variant, pool.slots, _WHOLE_REQUEST)
        measured = self._runner.replay(pool)
        bound = self.bound(percent)
        hits = measured["get"]["blocks"]
        if hits > bound["min_hits"]:
            raise RunError(f"{pool}: {hits} hits, more than the {bound['min_hits']} that are possible")
        return {
            "policy": pool.variant.name,
            "percent": percent,
            "slots": pool.slots,
            "chunk_bytes": pool.chunk_bytes,
            "hits": hits,
            "block_hits": hits + measured["blocks_behind"],
            "puts": measured["put"]["blocks"],
            "declined": measured["blocks_declined"],
            "simulated_hits": {"one_put_at_a_time": one_by_one.hits, "request_at_once": at_once.hits},
            "simulated_puts": {"one_put_at_a_time": one_by_one.puts, "request_at_once": at_once.puts},
            "min_hits": bound["min_hits"],
            "blocks_per_second": (hits + measured["put"]["blocks"]) / measured["wall_seconds"],
            "measured": measured,
        }

    def _simulate(self, variant: Variant, slots: int, in_flight: int, tier_slots: int = 0) -> Outcome:
        asked = (variant, slots, in_flight, tier_slots)
        if asked not in self._outcomes:
            self._outcomes[asked] = simulate(self.requests, variant, slots, in_flight, tier_slots)
        return self._outcomes[asked]


def throughput(measured: Measured, direction: str) -> Optional[float]:
    """GB/s between submit and completion; None if nothing moved."""
    traffic = measured[direction]
    return traffic["bytes"] / traffic["seconds"] * 1e-9 if traffic["bytes"] else None
