"""The study: which pools are replayed, what each is compared with, and what must hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence

from blocks import Request
from bounds import belady, unbounded
from policies import POLICIES, simulate
from runner import Measured, Pool, RunError, Runner

# More than any request has: all puts of a request are under way at once.
_WHOLE_REQUEST = 1 << 20
# Chunks of the exact check: it counts hits, so the bytes may be few.
_CHECK_CHUNK_BYTES = 4096

Record = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to be replayed."""

    percents: Sequence[float]  # pool sizes, of the distinct blocks
    policies: Sequence[str]
    chunk_bytes: int
    check_percent: float  # pool of the exact check
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

    def slots(self, percent: float) -> int:
        return max(1, round(self.distinct * percent / 100))

    def largest(self) -> Pool:
        """The pool that needs the most room."""
        pools = [Pool("LRU", self.slots(max(self.plan.percents)), self.plan.chunk_bytes)]
        pools.append(Pool("LRU", self.slots(self.plan.large_percent), self.plan.large_chunk_bytes))
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

    def curve(self, policy: str, percents: Sequence[float]) -> list[tuple[float, int]]:
        """Hits by exact simulation, for pool sizes between those that are replayed too."""
        return [
            (percent, simulate(self.requests, policy, self.slots(percent), _WHOLE_REQUEST).hits)
            for percent in percents
        ]

    def matrix(self, tell: Callable[[Record], None]) -> list[Record]:
        """Each policy with each pool size, request by request in whole batches. Where nothing has to be evicted the
        policies are the same, and the first one speaks for all."""
        records = []
        for percent in self.plan.percents:
            alike = self.slots(percent) >= self.distinct
            for policy in self.plan.policies[:1] if alike else self.plan.policies:
                record = self._replay(Pool(policy, self.slots(percent), self.plan.chunk_bytes), percent)
                tell(record)
                records.append(record)
        return records

    def large(self) -> Record:
        """One replay with larger chunks, for the bytes."""
        pool = Pool("LRU", self.slots(self.plan.large_percent), self.plan.large_chunk_bytes)
        return self._replay(pool, self.plan.large_percent)

    def exact_checks(self, tell: Callable[[Record], None]) -> list[Record]:
        """Each policy block by block in memory, where nothing is left to the timing of transfers: hits, stored blocks,
        puts and evictions have to be those of the simulation, to the last one."""
        records = []
        for policy in self.plan.policies:
            slots = self.slots(self.plan.check_percent)
            measured = self._runner.replay(Pool(policy, slots, _CHECK_CHUNK_BYTES, in_memory=True), batch_max=1)
            outcome = simulate(self.requests, policy, slots)
            counted = {
                "hits": measured["get"]["blocks"],
                "block_hits": measured["get"]["blocks"] + measured["blocks_behind"],
                "puts": measured["put"]["blocks"],
                "evictions": measured["evictions"],
            }
            record = {"policy": policy, "slots": slots, "counted": counted, "simulated": vars(outcome)}
            tell(record)
            if counted != vars(outcome):
                raise RunError(f"{policy}, {slots:,} slots, block by block: counted {counted}, but simulated {outcome}")
            records.append(record)
        return records

    def _replay(self, pool: Pool, percent: float) -> Record:
        one_by_one = simulate(self.requests, pool.policy, pool.slots)
        at_once = simulate(self.requests, pool.policy, pool.slots, _WHOLE_REQUEST)
        measured = self._runner.replay(pool)
        bound = self.bound(percent)
        hits = measured["get"]["blocks"]
        if hits > bound["min_hits"]:
            raise RunError(f"{pool}: {hits} hits, more than the {bound['min_hits']} that are possible")
        return {
            "policy": pool.policy,
            "percent": percent,
            "slots": pool.slots,
            "chunk_bytes": pool.chunk_bytes,
            "hits": hits,
            "block_hits": hits + measured["blocks_behind"],
            "simulated_hits": {"one_put_at_a_time": one_by_one.hits, "request_at_once": at_once.hits},
            "min_hits": bound["min_hits"],
            "blocks_per_second": (hits + measured["put"]["blocks"]) / measured["wall_seconds"],
            "measured": measured,
        }


def throughput(measured: Measured, direction: str) -> Optional[float]:
    """GB/s between submit and completion; None if nothing moved."""
    traffic = measured[direction]
    return traffic["bytes"] / traffic["seconds"] * 1e-9 if traffic["bytes"] else None


def policy_names() -> list[str]:
    return list(POLICIES)
