"""The tier in front serves what was used last, and the store is asked only for what is behind it."""

from __future__ import annotations

import unittest

import context  # noqa: F401
from policies import POLICIES, Outcome, Variant, prefix_length, simulate
from tiers import Tier


class Tiers(unittest.TestCase):
    def test_the_tier_keeps_what_was_used_last_and_of_a_chain_the_beginning(self) -> None:
        tier = Tier(3)
        tier.keep([1, 2])
        tier.keep([3, 4])
        self.assertEqual([block in tier for block in (1, 2, 3, 4)], [True, False, True, True])
        tier.keep([1, 5])
        self.assertEqual([block in tier for block in (1, 5, 3, 4)], [True, True, True, False])

    def test_of_a_chain_larger_than_the_tier_the_beginning_is_kept(self) -> None:
        tier = Tier(2)
        tier.keep([1, 2, 3, 2])
        self.assertEqual(prefix_length([1, 2, 3], tier), 2)

    def test_what_the_tier_serves_is_not_asked_of_the_store(self) -> None:
        # 1 and 2 go to both. Of [1 2 3] the tier has all but 3, so the store is asked for 3 alone and has not got it.
        outcome = simulate([[1, 2], [1, 2, 3]], Variant("LRU"), 8, tier_slots=2)
        self.assertEqual(outcome, Outcome(puts=3, tier_hits=2))

    def test_the_store_serves_what_the_tier_lost(self) -> None:
        # [3 4] push [1 2] out of the tier. [1 9] finds 1 in the store, and 9 nowhere.
        outcome = simulate([[1, 2], [3, 4], [1, 9]], Variant("LRU"), 8, tier_slots=2)
        self.assertEqual(outcome, Outcome(hits=1, block_hits=1, puts=5))

    def test_what_the_tier_serves_is_no_use_in_the_store(self) -> None:
        # Two slots of the store hold [1 2]. The tier serves 1, so that in the store it is the older one, and 3 takes
        # its slot; 4 takes that of 2.
        requests = [[2], [1], [1], [3], [4], [1]]
        self.assertEqual(simulate(requests, Variant("LRU"), 3, tier_slots=1),
                         Outcome(hits=1, block_hits=1, puts=4, evictions=1, tier_hits=1))
        self.assertEqual(simulate(requests, Variant("LRU"), 2, tier_slots=1),
                         Outcome(hits=0, block_hits=0, puts=5, evictions=3, tier_hits=1))

    def test_a_request_that_the_tier_serves_whole_is_none_for_the_store(self) -> None:
        for policy in POLICIES:
            with self.subTest(policy):
                outcome = simulate([[1, 2]] * 5, Variant(policy), 2, tier_slots=2)
                self.assertEqual(outcome, Outcome(puts=2, tier_hits=8))


if __name__ == "__main__":
    unittest.main()
