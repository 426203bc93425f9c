"""What people read: the table, the files, the picture."""

import json
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path
from types import SimpleNamespace

from cases import CASES, Throughput, at_least, at_most
from harness import picture, report
from harness.chart import Frame, Panel, Point, Style, draw_panel
from harness.rows import Row, Samples
from harness.table import markdown_table, number, text_table

FACTS = {
    "nixl_store": "abc", "date": "2026-01-01", "rounds": 3, "wall_s": 1.0, "cpus": 2, "cpu": "x",
    "memory_bytes": 1 << 30, "kernel": "6", "disk": "ext4", "tmpfs": "tmpfs", "peers": {"fio": "fio-3"},
}


def compared(target: float) -> Row:
    return Row("disk", "put", "GB/s", Samples([2.0, 4.0, 3.0], [0.1]), "fio", Samples([4.0, 4.0, 4.0], [0.2]),
               at_least(target))


class Rows(unittest.TestCase):
    def test_verdict_is_of_the_ratio_where_there_is_a_peer(self) -> None:
        self.assertEqual(compared(0.75).verdict, "ok")
        self.assertEqual(compared(0.76).verdict, "below")

    def test_verdict_is_of_our_own_value_where_the_target_says_so(self) -> None:
        row = Row("library", "dlopen", "ms", Samples([3.0]), "NIXL", Samples([1.0]), at_most(10), bounds_ours=True)
        self.assertEqual(row.verdict, "ok")
        self.assertEqual(Row("lookups", "contains", "M/s", Samples([4.9]), target=at_least(5)).verdict, "below")

    def test_a_missing_peer_is_never_a_success(self) -> None:
        self.assertEqual(Row("disk", "put", "GB/s", Samples([2.0]), "fio", target=at_least(0.5)).verdict, "")
        row = Row("disk", "put", "GB/s", Samples([2.0]), "fio", target=at_least(0.5), note="not installed")
        self.assertEqual(row.verdict, "not installed")


class Tables(unittest.TestCase):
    def test_hold_both_values_ratio_target_and_cpu(self) -> None:
        line = text_table([compared(0.95)]).splitlines()[2]
        for part in ("3.00 GB/s", "4.00 GB/s", "0.75", "0.50 - 1.00", "≥ 0.95", "below", "0.10 / 0.20"):
            self.assertIn(part, line)
        self.assertIn("| disk | put | 3.00 GB/s | fio | 4.00 GB/s | 0.75 |", markdown_table([compared(0.95)]))

    def test_failures_stand_out_and_do_not_widen_the_table(self) -> None:
        row = Row("disk", "put", "GB/s", None, "fio", note="FAILED: a long reason")
        self.assertIn("FAILED", text_table([row]))
        self.assertNotIn("reason", text_table([row]))

    def test_numbers_have_three_digits_that_count(self) -> None:
        self.assertEqual([number(value) for value in (12345.6, 99.96, 9.123, 0.5, 0.0123)],
                         ["12,346", "100.0", "9.12", "0.50", "0.012"])


class Files(unittest.TestCase):
    def test_result_has_every_round(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            context = SimpleNamespace(rows=[compared(0.95)], fio_settings={}, details={})
            files = report.write(Path(folder), context, FACTS, ())
            result = json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))
        self.assertEqual(result["rows"][0]["ours"]["values"], [2.0, 4.0, 3.0])
        self.assertEqual(result["rows"][0]["ratio"]["median"], 0.75)
        self.assertEqual([file.name for file in files], ["report.md", "result.json"])

    def test_an_old_picture_does_not_pass_for_a_new_one(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "throughput.svg").write_text("old", encoding="utf-8")
            report.write(Path(folder), SimpleNamespace(rows=[], fio_settings={}, details={}), FACTS, ())
            self.assertFalse((Path(folder) / "throughput.svg").exists())


class Picture(unittest.TestCase):
    def rows(self) -> "list[Row]":
        return [
            Row(case.title, operation, "GB/s", Samples([1.0, 3.0]), "fio", Samples([2.0, 2.0]))
            for case in CASES
            if isinstance(case, Throughput) and case.is_point
            for operation in ("put", "get")
        ]

    def test_is_svg_with_title_units_legend_and_every_size(self) -> None:
        drawn = picture.draw(CASES, self.rows())
        self.assertIsNotNone(drawn)
        root = xml.etree.ElementTree.fromstring(drawn)
        words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        for word in ("put, disk", "get, tmpfs", "GB/s", "object size", "64 KiB", "32 MiB", "nixl-store"):
            self.assertIn(word, words)

    def test_points_lie_where_the_axis_says(self) -> None:
        points = [Point(0, 1.0, 1.0, 1.0), Point(1, 4.0, 4.0, 4.0)]
        panel = Panel("p", "a", ["x", "y"], [(Style("s", "#000000"), points)])
        drawn = "<g>" + draw_panel(panel, Frame(0, 100, 200, 100)) + "</g>"
        circles = xml.etree.ElementTree.fromstring(drawn).iter("circle")
        places = [(float(one.get("cx")), float(one.get("cy"))) for one in circles]
        # The axis ends at 4, so one is a quarter up from the bottom at 200 and the other at the top.
        self.assertEqual(places, [(50.0, 175.0), (150.0, 100.0)])

    def test_without_points_there_is_none(self) -> None:
        self.assertIsNone(picture.draw((), []))


if __name__ == "__main__":
    unittest.main()
