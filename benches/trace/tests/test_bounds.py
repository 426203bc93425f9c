"""MIN is what its name says: nothing that can be tried does better, and what it reaches can be reached."""

from __future__ import annotations

import itertools
import random
import unittest
from typing import Iterator

import context  # noqa: F401
from bounds import Bound, belady, unbounded
from policies import POLICIES, Variant, prefix_length, simulate


def best_prefix_hits(requests: list[list[int]], capacity: int) -> int:
    """Tries every content that a pool can have after each request."""
    best = {frozenset(): 0}
    for chain in requests:
        following: dict[frozenset[int], int] = {}
        for stored, hits in best.items():
            total = hits + prefix_length(chain, set(stored))
            for kept in _subsets(stored | set(chain), capacity):
                following[kept] = max(total, following.get(kept, 0))
        best = following
    return max(best.values())


def _subsets(blocks: frozenset[int], size_max: int) -> Iterator[frozenset[int]]:
    for size in range(min(size_max, len(blocks)) + 1):
        yield from map(frozenset, itertools.combinations(sorted(blocks), size))


def random_chains(generator: random.Random, requests: int) -> list[list[int]]:
    """Chains as hashes make them: every block has one predecessor."""
    parent: dict[int, int] = {}
    for block in range(1, 7):
        parent[block] = generator.randrange(block)
    chains = []
    for _ in range(requests):
        block = generator.randrange(1, 7)
        chain = [block]
        while block := parent.get(block, 0):
            chain.append(block)
        chains.append(chain[::-1])
    return chains


class Bounds(unittest.TestCase):
    def test_belady_s_own_kind_of_example(self) -> None:
        # Two slots: 1 and 2 go in, 3 is needed later than both and is left out, 1+ 2+, 3 is not there, 1+.
        requests = [[block] for block in (1, 2, 3, 1, 2, 3, 1)]
        self.assertEqual(belady(requests, 2), Bound(block_hits=3, prefix_hits=3))
        self.assertEqual(belady(requests, 1), Bound(block_hits=2, prefix_hits=2))
        self.assertEqual(belady(requests, 3), Bound(block_hits=4, prefix_hits=4))

    def test_blocks_that_never_come_back_take_no_slot(self) -> None:
        self.assertEqual(belady([[1, 9], [2, 8], [1, 7], [2, 6]], 2), Bound(block_hits=2, prefix_hits=2))

    def test_a_hit_behind_a_miss_is_no_prefix_hit(self) -> None:
        # 2 is found in the second request, but 3 before it is not.
        self.assertEqual(belady([[1, 2], [3, 2]], 2), Bound(block_hits=1, prefix_hits=0))

    def test_unbounded_counts_prefixes(self) -> None:
        # Of the third request 3 is known, but 9 before it is not.
        self.assertEqual(unbounded([[1, 2], [1, 2, 3], [1, 9, 3], [1, 9]]), 2 + 1 + 2)

    def test_no_choice_of_what_to_keep_beats_min(self) -> None:
        generator = random.Random(11)
        for round_number in range(60):
            chains = [
                generator.sample(range(5), generator.randrange(1, 4)) for _ in range(generator.randrange(2, 7))
            ]
            for capacity in (1, 2, 3):
                with self.subTest(round=round_number, chains=chains, capacity=capacity):
                    self.assertGreaterEqual(belady(chains, capacity).block_hits, best_prefix_hits(chains, capacity))

    def test_where_blocks_have_one_predecessor_min_is_reached_exactly(self) -> None:
        generator = random.Random(13)
        for round_number in range(60):
            chains = random_chains(generator, generator.randrange(2, 8))
            for capacity in (1, 2, 3):
                with self.subTest(round=round_number, chains=chains, capacity=capacity):
                    best = best_prefix_hits(chains, capacity)
                    self.assertEqual(belady(chains, capacity), Bound(block_hits=best, prefix_hits=best))

    def test_no_policy_beats_min_and_min_does_not_beat_an_unbounded_cache(self) -> None:
        chains = random_chains(random.Random(17), 300)
        for capacity in (1, 2, 4, 6):
            bound = belady(chains, capacity).block_hits
            self.assertLessEqual(bound, unbounded(chains))
            for policy, in_flight in itertools.product(POLICIES, (1, 8)):
                with self.subTest(policy=policy, capacity=capacity, in_flight=in_flight):
                    self.assertLessEqual(simulate(chains, Variant(policy), capacity, in_flight).hits, bound)


if __name__ == "__main__":
    unittest.main()
