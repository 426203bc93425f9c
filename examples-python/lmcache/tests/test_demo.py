"""What the demo's parts compute and break, without LMCache."""

import os
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import adapters  # noqa: E402
import bench  # noqa: E402
import drill  # noqa: E402
import faults  # noqa: E402
import processes  # noqa: E402
from session import ERROR, MISS, RIGHT, WRONG, content  # noqa: E402

BYTES = 64 * 1024


class Faults(unittest.TestCase):
    """Each fault does to the files what it says, and nothing else."""

    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.place = adapters.Place(self.folder.name, False, 4, BYTES)
        self.chunks = [content(chunk, BYTES) for chunk in range(4)]

    def file(self, name: str, data: bytes) -> pathlib.Path:
        """A file of an adapter's."""
        path = pathlib.Path(self.folder.name, name)
        path.write_bytes(data)
        return path

    def test_a_flipped_bit_is_one_bit_of_the_chunk_that_is_named(self) -> None:
        paths = [self.file(f"file-{chunk}", b"head" + data) for chunk, data in enumerate(self.chunks)]
        flipped = faults.flip_a_bit(self.place)
        for chunk, path in enumerate(paths):
            before, after = b"head" + self.chunks[chunk], path.read_bytes()
            bits = sum(bin(one ^ other).count("1") for one, other in zip(before, after))
            self.assertEqual(bits, 1 if chunk == flipped else 0)
            self.assertEqual(len(before), len(after))

    def test_a_pool_that_is_cut_short_loses_its_last_chunk_only(self) -> None:
        order = (2, 0, 3, 1)
        pool = self.file("pool", b"".join(self.chunks[chunk] + b"trailer" for chunk in order))
        self.assertEqual(faults.cut_short(self.place), 1)
        for chunk in order[:-1]:
            self.assertIn(self.chunks[chunk], pool.read_bytes())
        self.assertNotIn(self.chunks[1], pool.read_bytes())

    def test_what_is_not_found_is_said(self) -> None:
        self.file("file", b"something else")
        with self.assertRaisesRegex(LookupError, "0, 1, 2, 3"):
            faults.find(self.place)

    def limited(self) -> int:
        """Bytes that get into a file before a write is refused."""
        faults.limit_files(self.place)
        written = 0
        with open(os.path.join(self.folder.name, "new"), "wb", buffering=0) as file:
            try:
                while written < 1 << 24:
                    written += file.write(bytes(8192))
            except OSError:
                return written
        return -1

    def test_writes_fail_in_the_middle_of_a_chunk(self) -> None:
        self.assertEqual(processes.run(self.limited).answer, BYTES // 2)


class Processes(unittest.TestCase):
    """Whatever a run does, its parent learns of it."""

    def test_answers_errors_and_ends(self) -> None:
        self.assertEqual(processes.run(len, "four"), processes.Outcome(4, ""))
        self.assertEqual(processes.run(int, "four").error[:10], "ValueError")
        self.assertEqual(processes.run(sys.exit, 3).error, "exit code 3")
        self.assertEqual(processes.run(os._exit, 4).error, "the process ended with 4")
        self.assertIn("no answer", processes.run(input_that_never_comes, seconds=0.2).error)


def input_that_never_comes() -> None:
    """Waits for ever."""
    os.read(os.pipe()[0], 1)


class Tables(unittest.TestCase):
    """What people are shown."""

    def test_wrong_bytes_are_never_hidden_behind_other_verdicts(self) -> None:
        self.assertEqual(drill.summary([WRONG]), "WRONG BYTES")
        self.assertEqual(drill.summary([RIGHT, WRONG, ERROR, MISS]), "1 WRONG")
        self.assertEqual(drill.summary([RIGHT, ERROR]), "error")
        self.assertEqual(drill.summary([RIGHT, RIGHT]), "all right")
        self.assertEqual(drill.summary([MISS, MISS]), "all missed")
        self.assertEqual(drill.summary([RIGHT, MISS, MISS]), "1 of 3 right")

    def test_a_report_of_lmcaches_is_read(self) -> None:
        def phase(operation: str, milliseconds: float, success: int) -> dict:
            return {"operation": operation, "duration_p50_ms": milliseconds, "total_keys": 64, "total_success": success}

        phases = {"a": phase("Store", 64, 64), "b": phase("Lookup", 1, 64), "c": phase("Load", 32, 64), "config": {}}
        rounds = bench.WARMUP_ROUNDS + bench.ROUNDS
        cpu_s = [9.0] * bench.WARMUP_ROUNDS + [0.064] * bench.ROUNDS
        cpu_s += [0.0] * rounds + [9.0] * bench.WARMUP_ROUNDS + [0.032] * bench.ROUNDS
        measured = bench.read_report({"metrics": phases}, cpu_s)
        self.assertAlmostEqual(measured.store_gb_s, 1.048576)
        self.assertAlmostEqual(measured.load_gb_s, 2.097152)
        self.assertAlmostEqual(measured.store_cpu_us, 1000)
        self.assertAlmostEqual(measured.load_cpu_us, 500)
        self.assertTrue(measured.verified)
        phases["c"]["total_success"] = 63
        self.assertFalse(bench.read_report({"metrics": phases}, cpu_s).verified)


if __name__ == "__main__":
    unittest.main()
