"""Each policy evicts what its name says, on traces short enough to follow by hand."""

from __future__ import annotations

import random
import unittest

import context  # noqa: F401
from policies import POLICIES, Outcome, Variant, prefix_length, simulate


def single(*ids: int) -> list[list[int]]:
    """Requests of one block each, where prefix hits and block hits are the same."""
    return [[block] for block in ids]


class Policies(unittest.TestCase):
    def hits(self, policy: str, capacity: int, *ids: int) -> int:
        return simulate(single(*ids), Variant(policy), capacity).hits

    def test_the_policies_part_where_their_names_do(self) -> None:
        # Two slots. After 1 2 1 the third block pushes out 2 (LRU: used longest ago, LFU: used once) or
        # 1 (FIFO: came first, MRU: used last).
        for policy, stays, leaves in (("LRU", 1, 2), ("LFU", 1, 2), ("FIFO", 2, 1), ("MRU", 2, 1)):
            with self.subTest(policy):
                self.assertEqual(self.hits(policy, 2, 1, 2, 1, 3, stays), 2)
                self.assertEqual(self.hits(policy, 2, 1, 2, 1, 3, leaves), 1)

    def test_lfu_keeps_what_was_used_more_often_and_lru_what_was_used_last(self) -> None:
        self.assertEqual(self.hits("LFU", 2, 1, 1, 2, 3, 1), 2)
        self.assertEqual(self.hits("LRU", 2, 1, 1, 2, 3, 1), 1)

    def test_lfu_lets_the_one_go_that_has_been_equally_frequent_for_longest(self) -> None:
        # 1 and 2 have two uses each, 2 came to it first, so the order is 2, 1; then 3 takes 2's slot.
        self.assertEqual(self.hits("LFU", 2, 1, 2, 2, 1, 3, 1), 3)
        self.assertEqual(self.hits("LFU", 2, 1, 2, 2, 1, 3, 2), 2)

    def test_lru_over_a_loop_one_longer_than_the_pool_never_hits_and_mru_does(self) -> None:
        loop = [1, 2, 3] * 3
        self.assertEqual(self.hits("LRU", 2, *loop), 0)
        self.assertEqual(self.hits("FIFO", 2, *loop), 0)
        # 1 2 3(for 2) 1+ 2(for 1) 3+ 1(for 3) 2+ 3(for 2)
        self.assertEqual(self.hits("MRU", 2, *loop), 3)

    def test_only_the_stored_prefix_counts_and_stored_blocks_are_not_put_again(self) -> None:
        # FIFO, three slots: [1 2 3], then 4 takes 1's slot; of [1 2 3] two blocks are there but the first is not.
        outcome = simulate([[1, 2, 3], [4], [1, 2, 3]], Variant("FIFO"), 3)
        # Putting 1 takes the slot of 2, putting 2 that of 3, putting 3 that of 4.
        self.assertEqual(outcome, Outcome(hits=0, block_hits=2, puts=7, evictions=4))

    def test_a_pool_with_room_for_all_evicts_nothing(self) -> None:
        requests = [[1, 2, 3], [1, 2, 4], [1, 2, 3, 5]]
        for policy in POLICIES:
            with self.subTest(policy):
                outcome = simulate(requests, Variant(policy), 5)
                self.assertEqual(outcome, Outcome(hits=5, block_hits=5, puts=5, evictions=0))

    def test_puts_that_are_under_way_cannot_be_evicted(self) -> None:
        # MRU, three slots full of 1 2 3. One at a time, 4 takes 3's slot and 5 takes 4's. Both at once, 5 takes 2's.
        requests = [[1], [2], [3], [4, 5]]
        self.assertEqual(simulate([*requests, [2]], Variant("MRU"), 3).hits, 1)
        self.assertEqual(simulate([*requests, [4]], Variant("MRU"), 3).hits, 0)
        self.assertEqual(simulate([*requests, [2]], Variant("MRU"), 3, in_flight=2).hits, 0)
        self.assertEqual(simulate([*requests, [4]], Variant("MRU"), 3, in_flight=2).hits, 1)

    def test_a_request_longer_than_the_pool_is_served(self) -> None:
        for policy in POLICIES:
            for in_flight in (1, 2, 100):
                with self.subTest(policy=policy, in_flight=in_flight):
                    outcome = simulate([[1, 2, 3, 4, 5]], Variant(policy), 2, in_flight)
                    # REUSE lets nothing of a request leave for the rest of it.
                    expected = Outcome(puts=2, declined=3) if policy == "REUSE" else Outcome(puts=5, evictions=3)
                    self.assertEqual(outcome, expected)

    def test_lru_lets_the_end_of_a_chain_go_before_its_beginning(self) -> None:
        # Three slots: 4 takes 3's, 5 takes 2's; of [1 2 3] the first is there, and useful.
        self.assertEqual(simulate([[1, 2, 3], [4], [5], [1, 2, 3]], Variant("LRU"), 3).hits, 1)
        # The order is that of the chain, whether its blocks are got or put: [1 2] are got and 3 is put, 4 takes 3's.
        self.assertEqual(simulate([[1, 2], [9], [1, 2, 3], [4], [1, 2, 3]], Variant("LRU"), 3).hits, 2 + 2)

    def test_lru_lets_a_block_of_the_same_request_go_when_all_are_of_it(self) -> None:
        # Two slots: 3 takes 2's, 4 takes 3's.
        self.assertEqual(simulate([[1, 2, 3, 4], [1, 4]], Variant("LRU"), 2), Outcome(2, 2, puts=4, evictions=2))

    def test_a_block_twice_in_a_chain_has_its_first_place(self) -> None:
        # 1 keeps its place before 2, so 3 takes 2's slot.
        self.assertEqual(simulate([[1, 2, 1], [3], [1]], Variant("LRU"), 2), Outcome(1, 1, puts=3, evictions=1))

    def test_rotating_prompts_larger_than_the_pool_mostly_hit(self) -> None:
        # Three prompts of 100 blocks, room for 250. LRU from first to last would never hit. Leaf first it does, though
        # the end of a prompt pushes out its own blocks and those of the prompt that comes next.
        rotation = [list(range(first, first + 100)) for first in (0, 100, 200)] * 30
        for policy, at_least in (("LRU", 0.5), ("REUSE", 0.8)):
            with self.subTest(policy):
                warm = simulate(rotation[:30], Variant(policy), 250).hits
                rate = (simulate(rotation, Variant(policy), 250).hits - warm) / (60 * 100)
                self.assertGreaterEqual(rate, at_least)

    def test_every_block_that_is_no_hit_is_put_or_stored(self) -> None:
        generator = random.Random(7)
        requests = [[generator.randrange(12) for _ in range(generator.randrange(1, 6))] for _ in range(200)]
        requests = [list(dict.fromkeys(chain)) for chain in requests]
        for policy in POLICIES:
            with self.subTest(policy):
                outcome = simulate(requests, Variant(policy), 5)
                self.assertGreaterEqual(outcome.block_hits, outcome.hits)
                self.assertEqual(outcome.puts - outcome.evictions, 5)
                self.assertLessEqual(outcome.hits + outcome.puts, sum(map(len, requests)))

    def test_a_prefix_ends_at_the_first_block_that_is_not_there(self) -> None:
        self.assertEqual(prefix_length([1, 2, 3], {1, 3}), 1)
        self.assertEqual(prefix_length([1, 2], {1, 2}), 2)
        self.assertEqual(prefix_length([], {1}), 0)


if __name__ == "__main__":
    unittest.main()
