"""The study replays what it plans, fails where the store and the simulation part, and its report says what it found."""

from __future__ import annotations

import random
import unittest
from pathlib import Path
from xml.etree import ElementTree

import context  # noqa: F401
import pictures
import report
from fake_runner import FakeRunner
from policies import Variant
from runner import Pool, RunError
from study import COMPARED, VARIANTS, Plan, Study


def chats(requests: int) -> list[list[int]]:
    """A few chats that grow, among requests that never return."""
    generator = random.Random(29)
    chains: list[list[int]] = []
    for number in range(requests):
        chat = generator.randrange(12)
        chains.append([100 * chat + block for block in range(generator.randrange(1, 20))])
        chains.append([10_000 + 50 * number + block for block in range(10)])
    return chains


PLAN = Plan([1.0, 5.0, 20.0, 100.0], VARIANTS, 65536, check_percents=[1.0, 5.0], check_percent=5.0, tier_percent=2.0,
            large_percent=5.0, large_chunk_bytes=262144)


class Studies(unittest.TestCase):
    def setUp(self) -> None:
        self.requests = chats(150)
        self.runner = FakeRunner(self.requests)
        self.study = Study(self.requests, self.runner, PLAN)
        self.told: list[object] = []

    def test_lru_and_reuse_are_checked_at_every_size_and_the_others_at_one(self) -> None:
        records = self.study.exact_checks(self.told.append)
        self.assertEqual([(record["policy"], record["percent"]) for record in records], [
            ("LRU", 1.0), ("LRU", 5.0), ("REUSE", 1.0), ("REUSE", 5.0), ("REUSE q0.8", 5.0), ("LFU", 5.0),
            ("FIFO", 5.0), ("MRU", 5.0),
        ])
        self.assertEqual(self.told, records)
        self.assertTrue(all(pool.in_memory for pool in self.runner.replayed))

    def test_a_store_that_declines_one_more_than_it_should_fails_both_checks(self) -> None:
        study = Study(self.requests, FakeRunner(self.requests, off_by=1), PLAN)
        for check in (study.exact_checks, study.behind_tier):
            with self.subTest(check.__name__), self.assertRaisesRegex(RunError, "LRU.*'declined': 1.*simulated"):
                check(self.told.append)

    def test_the_matrix_sets_writes_against_those_of_lru(self) -> None:
        matrix = self.study.matrix(self.told.append)
        # Where nothing is evicted one policy is enough.
        self.assertEqual(len(matrix), 3 * len(VARIANTS) + 1)
        by_name = {(record["percent"], record["policy"]): record for record in matrix}
        reuse, lru = by_name[5.0, "REUSE"], by_name[5.0, "LRU"]
        self.assertEqual(reuse["lru_puts"], lru["puts"])
        self.assertGreater(reuse["declined"], 0)
        cells = dict(zip(report.HEADINGS, report.row(reuse, self.study.references)))
        self.assertEqual(cells["of LRU's"], f"{reuse['puts'] / lru['puts']:.3f}")
        self.assertEqual(cells["puts"], f"{reuse['puts']:,}")
        self.assertEqual(cells["declined"], f"{reuse['declined']:,}")

    def test_without_lru_there_is_nothing_to_set_writes_against(self) -> None:
        plan = Plan([5.0], [Variant("FIFO")], 65536, [5.0], 5.0, 2.0, 5.0, 262144)
        study = Study(self.requests, self.runner, plan)
        [record] = study.matrix(self.told.append)
        self.assertEqual(report.row(record, study.references)[report.HEADINGS.index("of LRU's")], "-")
        self.assertEqual(report.tier_rows(study.behind_tier(self.told.append), study.references), [])

    def test_behind_the_tier_each_size_that_evicts_has_both_policies(self) -> None:
        tiered = self.study.behind_tier(self.told.append)
        self.assertEqual([(record["percent"], record["policy"]) for record in tiered],
                         [(percent, variant.name) for percent in (1.0, 5.0, 20.0) for variant in COMPARED])
        self.assertEqual({record["tier_slots"] for record in tiered}, {self.study.slots(2.0)})
        lru, reuse = tiered[2]["counted"], tiered[3]["counted"]
        cells = dict(zip(report.TIER_HEADINGS, report.tier_rows(tiered, self.study.references)[1]))
        self.assertEqual(cells["pool"], "5 %")
        self.assertEqual(cells["REUSE / LRU"], f"{reuse['hits'] / lru['hits']:.2f}" if lru["hits"] else "-")
        self.assertEqual(cells["REUSE puts"], f"{reuse['puts']:,}")

    def test_the_report_has_both_pictures_and_all_tables(self) -> None:
        matrix, checks = self.study.matrix(self.told.append), self.study.exact_checks(self.told.append)
        tiered, large = self.study.behind_tier(self.told.append), self.study.large()
        text = report.markdown(self.study, ["a machine"], self.study.unbounded_hits(), matrix, checks, tiered, large)
        for wanted in ("(trace.svg)", "(writes.svg)", "## Behind a tier of 2 %", "REUSE q0.8", "## Exact check"):
            self.assertIn(wanted, text)
        for line in text.splitlines():
            if line.startswith("| 5 %"):
                self.assertIn(line.count("|"), (len(report.HEADINGS) + 1, len(report.TIER_HEADINGS) + 1))

    def test_both_pictures_are_well_formed_and_name_every_policy(self) -> None:
        matrix = self.study.matrix(self.told.append)
        unbounded = self.study.unbounded_hits()
        for picture in (pictures.hits(self.study, "a < b", unbounded, matrix),
                        pictures.writes(self.study, "a < b", matrix)):
            texts = [element.text for element in ElementTree.fromstring(picture).iter()]
            for variant in VARIANTS:
                self.assertIn(variant.name, texts)


class Configuration(unittest.TestCase):
    def test_a_quantile_that_is_not_the_default_is_told_to_the_store(self) -> None:
        default = Pool(Variant("REUSE"), 10, 4096, in_memory=True).config(Path("unused"))
        self.assertIn("cache_policy: REUSE\n", default)
        self.assertNotIn("quantile", default)
        other = Pool(Variant("REUSE", 0.8), 10, 4096, in_memory=True).config(Path("unused"))
        self.assertTrue(other.endswith("  nixl_pool_size: 10\n  nixl_store_reuse_quantile: 0.8\n"))


if __name__ == "__main__":
    unittest.main()
