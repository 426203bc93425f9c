"""A runner without a store: it answers what the simulation says, so that the study is tested without the library."""

from __future__ import annotations

from typing import Optional, Sequence

import context  # noqa: F401
from policies import simulate
from runner import Measured, Pool, Runner


class FakeRunner(Runner):
    """`off_by` is added to what a replay declined, as a store with an error would."""

    def __init__(self, requests: Sequence[Sequence[int]], off_by: int = 0) -> None:
        self._requests = requests
        self._off_by = off_by
        self.replayed: list[Pool] = []

    def replay(self, pool: Pool, batch_max: Optional[int] = None) -> Measured:
        self.replayed.append(pool)
        outcome = simulate(self._requests, pool.variant, pool.slots, batch_max or 1 << 20, pool.tier_slots)

        def traffic(blocks: int) -> Measured:
            return {"blocks": blocks, "bytes": blocks * pool.chunk_bytes, "batches": len(self._requests),
                    "seconds": 0.5, "batch_p50_ms": 0.1, "batch_p99_ms": 0.2}

        return {
            "get": traffic(outcome.hits), "put": traffic(outcome.puts), "evictions": outcome.evictions,
            "blocks_behind": outcome.block_hits - outcome.hits, "blocks_declined": outcome.declined + self._off_by,
            "tier_hits": outcome.tier_hits, "wall_seconds": 2.0, "bytes_wrong": 0,
        }
