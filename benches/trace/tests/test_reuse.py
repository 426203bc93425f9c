"""REUSE declines what its rules say, on traces short enough to follow by hand; and where they are not, it does what the
slow reference does."""

from __future__ import annotations

import random
import unittest
from typing import Sequence

import context  # noqa: F401
import reference
import reuse
from ghosts import Ghosts, tag_of
from policies import Outcome, Variant, simulate

LRU, REUSE = Variant("LRU"), Variant("REUSE")


class Serving:
    """One pool that is shown requests; `stored` and `declined` tell of the latest."""

    def __init__(self, slots: int, quantile: float = 0.6, ghost_entries: int = 8) -> None:
        self.pool = reuse.Reuse(slots, quantile, ghost_entries)

    def request(self, *chain: int) -> list[int]:
        """Serves a request as the replay does and returns the blocks that were declined."""
        self.pool.begin(chain)
        declined = []
        for block in chain:
            if block in self.pool:
                self.pool.use(block)
            elif self.pool.take_slot(block):
                self.pool.store(block)
            else:
                declined.append(block)
        return declined

    def stored(self, *blocks: int) -> list[int]:
        return [block for block in blocks if block in self.pool]


class Admission(unittest.TestCase):
    """Tau is 16 in all of these: it starts there with few slots, and short gaps do not move it below."""

    def test_a_free_slot_is_given_to_anything(self) -> None:
        self.assertEqual(simulate([[1, 2, 3]], REUSE, 3), Outcome(puts=3))

    def test_a_new_block_displaces_only_what_has_been_idle_for_tau(self) -> None:
        serving = Serving(1)
        serving.request(1)  # at 1
        for block in range(2, 17):  # at 2 to 16, so that 1 has been idle for at most 15
            self.assertEqual(serving.request(block), [block])
        self.assertEqual(serving.request(17), [])  # idle for 16
        self.assertEqual(serving.stored(1, 17), [17])

    def test_a_block_that_returns_needs_half_its_own_gap(self) -> None:
        serving = Serving(1)
        serving.request(1)
        self.assertEqual(serving.request(2), [2])  # at 2
        serving.request(1)  # at 3, and seen again: owed double time
        self.assertEqual(serving.request(2), [2])  # at 4: needs 2 / 2, but 1 has been idle for 1 / 2
        self.assertEqual(serving.request(3), [3])
        self.assertEqual(serving.request(2), [])  # at 6: needs 2 / 2, 1 has been idle for 3 / 2
        self.assertEqual(serving.stored(1, 2), [2])

    def test_a_block_that_left_returns_by_when_it_was_used_last(self) -> None:
        serving = Serving(1)
        serving.request(1)
        serving.request(2)
        serving.request(2)  # at 3, takes 1's slot
        self.assertEqual(serving.request(4), [4])
        self.assertEqual(serving.request(1), [1])  # at 5: gap 4, needs 2; 2 has been idle for 2 / 2
        self.assertEqual(serving.request(5), [5])
        self.assertEqual(serving.request(1), [])  # at 7: gap 2, needs 1; 2 has been idle for 4 / 2
        self.assertEqual(serving.stored(1, 2), [1])

    def test_what_was_seen_again_is_owed_double_time(self) -> None:
        serving = Serving(2)
        serving.request(1)
        serving.request(1)  # at 2, seen again
        serving.request(2)  # at 3, seen once
        for block in range(4, 19):
            self.assertEqual(serving.request(block), [block])
        self.assertEqual(serving.request(19), [])  # at 19: 2 has been idle for 16, 1 for 17 / 2
        self.assertEqual(serving.stored(1, 2), [1])

    def test_of_equally_idle_ones_that_leaves_which_was_seen_once(self) -> None:
        serving = Serving(2)
        serving.request(1)
        serving.request(1)  # at 2: at 4 it has been idle for 2 / 2
        serving.request(2)  # at 3: at 4 it has been idle for 1
        ghost = serving.pool._ghosts
        ghost.put(tag_of(9), 3)  # as if it had been declined at 3: it needs 1 / 2
        self.assertEqual(serving.request(9), [])
        self.assertEqual(serving.stored(1, 2, 9), [1, 9])

    def test_a_declined_block_declines_what_follows_it_in_its_request(self) -> None:
        for chain, declined in (((9,), []), ((8, 9), [8, 9])):
            with self.subTest(chain):
                serving = Serving(2)
                serving.request(1)
                serving.request(2)
                self.assertEqual(serving.request(9), [9])  # at 3
                # With a gap of 1 or 2 it needs at most 1, and 1 has been idle for 3 or 4.
                self.assertEqual(serving.request(*chain), declined)
        self.assertEqual(serving.request(9), [])  # the next request is another one

    def test_a_stored_block_behind_a_declined_one_is_used(self) -> None:
        serving = Serving(2)
        serving.request(1, 2)
        self.assertEqual(serving.request(8, 2), [8])
        for block in range(20, 33):
            serving.request(block)  # up to 17, when 1 has been idle for 16
        self.assertEqual(serving.stored(1, 2), [2])

    def test_a_block_twice_in_one_chain_is_no_second_sight(self) -> None:
        serving = Serving(1)
        serving.request(1)
        self.assertEqual(serving.request(2, 2), [2, 2])  # at 2, the clock goes to 3
        self.assertEqual(serving.request(2), [])  # at 4: gap 2 since its first place, needs 1, 1 idle for 3
        serving = Serving(2)
        serving.request(1, 1)
        self.assertEqual(len(serving.pool._once), 1)
        serving.request(1, 1)
        self.assertEqual((len(serving.pool._once), len(serving.pool._again)), (0, 1))

    def test_a_retry_in_the_same_request_is_declined_and_leaves_the_ghost_as_it_was(self) -> None:
        serving = Serving(1)
        serving.request(1)
        serving.request(2, 3, 2)
        self.assertEqual(serving.pool._ghosts.seen_at(tag_of(2)), 2)
        self.assertEqual(serving.pool.tau, 16)

    def test_no_block_of_the_request_itself_leaves_for_it(self) -> None:
        self.assertEqual(simulate([[1, 2, 3, 4]], REUSE, 2), Outcome(puts=2, declined=2))
        # A block that the request has but has not come to is stepped over: 3 is older than 2 and stays.
        serving = Serving(2)
        serving.request(3)
        serving.request(2)
        serving.pool._ghosts.put(tag_of(9), 2)  # as if it had been declined at 2: it needs 1 / 2
        self.assertEqual(serving.request(9, 3), [])
        self.assertEqual(serving.stored(2, 3, 9), [3, 9])

    def test_the_end_of_a_chain_leaves_before_its_beginning(self) -> None:
        serving = Serving(3)
        serving.request(1, 2, 3)
        for block in range(20, 36):
            serving.request(block)
        self.assertEqual(serving.stored(1, 2, 3), [1, 2])

    def test_without_ghosts_nothing_returns(self) -> None:
        serving = Serving(1, ghost_entries=0)
        serving.request(1)
        self.assertEqual([serving.request(2) for _ in range(14)], [[2]] * 14)

    def test_stepping_over_ends_at_its_limit(self) -> None:
        limit = reuse.PASSED_OVER_MAX
        for passed_over, declined in ((limit - 1, 0), (limit, 1)):
            with self.subTest(passed_over):
                serving = Serving(passed_over + 1)
                serving.request(*range(passed_over))
                serving.request(1000)
                # As if it had been declined one block ago: it needs 1 / 2, and 1000 has been idle for 1.
                serving.pool._ghosts.put(tag_of(2000), passed_over + 1)
                self.assertEqual(len(serving.request(2000, *range(passed_over))), declined)


class Tau(unittest.TestCase):
    def test_it_starts_at_half_the_slots_and_moves_by_the_quantile(self) -> None:
        serving = Serving(200)
        self.assertEqual(serving.pool.tau, 100.0)
        serving.request(1)
        serving.request(1)
        self.assertEqual(serving.pool.tau, 100.0 * (1 - 0.002 * (1 - 0.6)))
        before = serving.pool.tau
        serving.request(*range(1000, 1150))
        serving.request(1)
        self.assertEqual(serving.pool.tau, before * (1 + 0.002 * 0.6))
        self.assertEqual(Serving(1).pool.tau, 16.0)

    def test_the_gap_of_a_ghost_moves_it_too(self) -> None:
        serving = Serving(40)
        serving.request(*range(40))
        serving.request(100)  # declined at 41
        serving.request(*range(40))
        serving.pool.tau = 20.0
        self.assertEqual(serving.request(100), [100])  # at 82: its gap of 41 is more than tau
        self.assertEqual(serving.pool.tau, 20.0 * (1 + 0.002 * 0.6))


class GhostSets(unittest.TestCase):
    def test_a_full_set_forgets_what_was_seen_longest_ago(self) -> None:
        ghosts = Ghosts(slots=1, entries_per_slot=8)
        for tag in range(1, 9):
            ghosts.put(tag, 100 - tag)
        ghosts.put(8, 200)  # is there already: only its time changes
        self.assertEqual([ghosts.seen_at(tag) for tag in range(1, 9)], [99, 98, 97, 96, 95, 94, 93, 200])
        ghosts.put(9, 50)
        self.assertEqual([ghosts.seen_at(tag) for tag in (6, 7, 8, 9)], [94, None, 200, 50])
        ghosts.remove(1)
        ghosts.put(10, 1)
        self.assertEqual([ghosts.seen_at(tag) for tag in (1, 9, 10)], [None, 50, 1])

    def test_sets_divide_the_tags_evenly_and_are_rounded_up(self) -> None:
        ghosts = Ghosts(slots=3, entries_per_slot=3)  # 9 entries: two sets
        for tag in range(1, 10):
            ghosts.put(tag, tag)
            ghosts.put(2**31 + tag, tag)
        self.assertEqual([ghosts.seen_at(1), ghosts.seen_at(2)], [None, 2])
        self.assertEqual([ghosts.seen_at(2**31 + 1), ghosts.seen_at(2**31 + 2)], [None, 2])

    def test_no_entries_remember_nothing(self) -> None:
        ghosts = Ghosts(slots=100, entries_per_slot=0)
        ghosts.put(1, 1)
        ghosts.remove(1)
        self.assertIsNone(ghosts.seen_at(1))

    def test_a_tag_is_the_high_part_of_the_digest(self) -> None:
        self.assertEqual(tag_of(7), 0x87F3F0FE)


class Reference(unittest.TestCase):
    def test_the_simulations_do_what_the_reference_does(self) -> None:
        generator = random.Random(23)
        declined = 0
        for round_number in range(120):
            requests = self.random_requests(generator)
            slots = generator.choice((1, 2, 5, 12, 30))
            quantile, entries = generator.choice((0.1, 0.6, 0.8)), generator.choice((0, 1, 8))
            with self.subTest(round=round_number, slots=slots, quantile=quantile, entries=entries):
                self.assertEqual(simulate(requests, LRU, slots), reference.lru(requests, slots))
                expected = reference.reuse(requests, slots, quantile, entries)
                self.assertEqual(self.simulated(requests, slots, quantile, entries), expected)
                declined += expected.declined
        self.assertGreater(declined, 1000)

    @staticmethod
    def random_requests(generator: random.Random) -> list[list[int]]:
        """Chains with a common beginning, some blocks twice, and now and then blocks that never return."""
        blocks = generator.choice((10, 40, 80))
        requests: list[list[int]] = []
        for number in range(generator.randrange(20, 90)):
            start, length = generator.randrange(blocks), generator.randrange(1, 9)
            chain = [(start + step) % blocks for step in range(length)]
            if generator.random() < 0.2:
                chain.insert(generator.randrange(len(chain) + 1), generator.choice(chain))
            if generator.random() < 0.1:
                chain = list(range(1000 * (number + 1), 1000 * (number + 1) + 40))
            requests.append(chain)
        return requests

    @staticmethod
    def simulated(requests: Sequence[Sequence[int]], slots: int, quantile: float, entries: int) -> Outcome:
        original = reuse.Reuse.__init__.__defaults__
        reuse.Reuse.__init__.__defaults__ = (quantile, entries)
        try:
            return simulate(requests, REUSE, slots)
        finally:
            reuse.Reuse.__init__.__defaults__ = original


if __name__ == "__main__":
    unittest.main()
