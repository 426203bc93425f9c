"""The compact form says what the original said, and what is no trace is refused with its place."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import context  # noqa: F401
import blocks


class Blocks(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "trace"

    def read(self, text: str) -> list[blocks.Request]:
        self.path.write_text(text, encoding="utf-8")
        return blocks.read(self.path)

    def test_a_chain_is_written_as_runs_and_read_back(self) -> None:
        chains = [[0, 1, 2, 3], [0, 7], [5], [9, 8, 8, 9, 10]]
        lines = list(blocks.write(chains))
        self.assertEqual(lines, ["0-3\n", "0 7\n", "5\n", "9 8 8-10\n"])
        self.assertEqual(self.read("# a comment\n" + "".join(lines)), chains)

    def test_mooncake_s_lines_are_read_and_requests_without_a_block_left_out(self) -> None:
        text = '{"timestamp": 1, "hash_ids": [0, 14]}\n{"hash_ids": []}\n{"hash_ids": [0]}\n'
        self.assertEqual(self.read(text), [[0, 14], [0]])

    def test_what_is_no_trace_is_refused_with_its_line(self) -> None:
        for bad in ("0  1", "-1", "a", "", "1-", "5-3", '{"hash_ids": [0.5]}', '{"hash_ids": [-1]}', "{}", "{"):
            with self.subTest(bad), self.assertRaisesRegex(blocks.TraceError, "line 2"):
                self.read(f"0-3\n{bad}\n")
        with self.assertRaisesRegex(blocks.TraceError, "no request"):
            self.read("# nothing\n")


if __name__ == "__main__":
    unittest.main()
