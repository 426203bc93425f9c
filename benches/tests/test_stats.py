"""A ratio has to be of neighbours in time, or a disk that changes its speed would decide who wins."""

import unittest

from harness.latency import percentile
from harness.stats import Target, ratio_of_rounds, verdict


class Ratios(unittest.TestCase):
    def test_are_of_the_same_round(self) -> None:
        # The device slows down to a tenth for both: ours is always twice the peer.
        ratio = ratio_of_rounds([10.0, 1.0, 8.0], [5.0, 0.5, 4.0])
        self.assertEqual((ratio.median, ratio.minimum, ratio.maximum), (2.0, 2.0, 2.0))

    def test_median_is_not_that_of_the_medians(self) -> None:
        # Medians would be 3 and 3.
        ratio = ratio_of_rounds([1.0, 3.0, 9.0], [3.0, 1.0, 3.0])
        self.assertEqual((ratio.median, ratio.minimum, ratio.maximum), (3.0, 1 / 3, 3.0))

    def test_of_rounds_that_do_not_match_are_refused(self) -> None:
        with self.assertRaises(ValueError):
            ratio_of_rounds([1.0, 2.0], [1.0])
        with self.assertRaises(ValueError):
            ratio_of_rounds([], [])


class Targets(unittest.TestCase):
    def test_at_least(self) -> None:
        self.assertEqual(Target(1.2).verdict(1.2), "ok")
        self.assertEqual(Target(1.2).verdict(1.19), "below")
        self.assertEqual(str(Target(0.95)), "≥ 0.95")

    def test_at_most(self) -> None:
        self.assertEqual(Target(10_000, at_least=False).verdict(10_000), "ok")
        self.assertEqual(Target(10_000, at_least=False).verdict(10_001), "above")
        self.assertEqual(str(Target(10_000, at_least=False)), "≤ 10,000")

    def test_without_a_value_there_is_no_verdict(self) -> None:
        self.assertEqual(verdict(Target(1.0), None), "")
        self.assertEqual(verdict(None, 1.0), "")


class Percentiles(unittest.TestCase):
    def test_are_samples_that_enough_others_do_not_exceed(self) -> None:
        samples = [float(number) for number in range(1, 1001)]
        self.assertEqual(percentile(samples, 0.5), 500.0)
        self.assertEqual(percentile(samples, 0.99), 990.0)
        self.assertEqual(percentile(samples, 0.999), 999.0)
        self.assertEqual(percentile([7.0], 0.999), 7.0)


if __name__ == "__main__":
    unittest.main()
