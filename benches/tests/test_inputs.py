"""What comes from outside: variables, fio's answer, the room on a disk, workers that fail."""

import json
import sys
import tempfile
import unittest
from pathlib import Path

from cases import CALLERS, CASES, ENGINES, Throughput
from harness import fio, peers, space
from harness.engines import Engines, Shape
from harness.options import OptionError, read_options
from harness.peers import Peers
from harness.rows import Samples
from harness.turns import Turns
from harness.workers import Worker, WorkerError, WorkerPool

ROOT = Path("/nowhere")


class Variables(unittest.TestCase):
    def test_have_defaults(self) -> None:
        options = read_options({"BENCH_TMPFS": "/tmp", "BENCH_ROUNDS": ""}, ROOT)
        self.assertEqual((options.rounds, options.names, options.quick), (7, (), False))
        self.assertEqual(options.disk, ROOT / "build" / "bench" / "data")

    def test_that_cannot_be_used_are_refused_by_name(self) -> None:
        for variables in ({"BENCH_ROUNDS": "many"}, {"BENCH_ROUNDS": "0"}, {"BENCH_DIR": "/a,b"},
                          {"BENCH_TMPFS": "/not/there"}):
            with self.assertRaises(OptionError) as caught:
                read_options({"BENCH_TMPFS": "/tmp", **variables}, ROOT)
            self.assertIn(next(iter(variables)), str(caught.exception))

    def test_case_names_are_unique(self) -> None:
        self.assertEqual(len({case.name for case in CASES}), len(CASES))
        self.assertEqual(len({case.title for case in CASES}), len(CASES))


class CuFile(unittest.TestCase):
    def test_that_is_missing_is_told_with_what_installs_it(self) -> None:
        found = Peers(ROOT, nixl_library=ROOT / "libnixl_capi.so")
        self.assertEqual((found.cufile_missing, found.nixl_gds_missing), (peers.NO_CUFILE, peers.NO_CUFILE))
        found.cufile = ROOT / "cufile" / "libcufile.so.0"
        self.assertEqual((found.cufile_missing, found.nixl_gds_missing), (None, peers.NOT_INSTALLED))
        found.cudart = ROOT / "cudart" / "libcudart.so.12"
        self.assertIsNone(found.nixl_gds_missing)

    def test_is_found_by_the_worker_and_has_no_empty_folder_in_its_path(self) -> None:
        found = Peers(ROOT, cufile=ROOT / "cufile" / "libcufile.so.0", environment={"NIXL_PLUGIN_DIR": "plugins"})
        environment = found.cufile_environment(ROOT / "preload.so", ROOT / "log")
        self.assertEqual(environment["LD_LIBRARY_PATH"], str(ROOT / "cufile"))
        self.assertEqual((environment["LD_PRELOAD"], environment["NIXL_PLUGIN_DIR"]), (str(ROOT / "preload.so"), "plugins"))


class Hf3fs(unittest.TestCase):
    def config(self, backend: str, memory: str) -> str:
        engines = Engines(ROOT / "bin" / "worker", ROOT / "lmcache", Peers(ROOT), WorkerPool(ROOT / "log"))
        return engines._store_config(ROOT / "case" / "ours", Shape(1 << 20, 64, 64), backend, memory)

    def test_all_engines_of_a_case_have_one_mount_and_one_library(self) -> None:
        config = self.config("HF3FS", ENGINES)
        self.assertIn(f"mount_point: \"{ROOT / 'case'}\"", config)
        self.assertIn(f"nixl_store_hf3fs_library: \"{ROOT / 'bin' / 'standin_hf3fs'}", config)
        self.assertNotIn("mount_point", self.config("POSIX", CALLERS))

    def test_the_buffer_has_room_for_what_is_allocated_from_it(self) -> None:
        self.assertIn(f"nixl_buffer_size: {128 << 20}\n", self.config("HF3FS", CALLERS))
        self.assertIn(f"nixl_buffer_size: {192 << 20}\n", self.config("HF3FS", ENGINES))


class FioAnswers(unittest.TestCase):
    def answer(self, **job: object) -> str:
        moved = {"io_bytes": 3_000_000_000, "runtime": 600}
        return "fio: a note first\n" + json.dumps({"jobs": [{"error": 0, "read": moved, **job}]})

    def test_rate_is_bytes_by_fios_own_clock(self) -> None:
        self.assertEqual(fio.parse(self.answer(), "read").bytes_per_s, 5e9)

    def test_errors_and_empty_runs_are_failures(self) -> None:
        with self.assertRaises(fio.FioError):
            fio.parse(self.answer(error=5), "read")
        with self.assertRaises(fio.FioError):
            fio.parse(self.answer(read={"io_bytes": 0, "runtime": 0}), "read")


class Room(unittest.TestCase):
    def test_too_little_is_refused_with_a_way_out(self) -> None:
        huge = Throughput("huge", "huge", "disk", 1 << 40, 1 << 20, {})
        with tempfile.TemporaryDirectory() as folder:
            options = read_options({"BENCH_TMPFS": folder, "BENCH_DIR": folder + "/new"}, ROOT)
            with self.assertRaises(space.SpaceError) as caught:
                space.check_space(options, [huge])
        self.assertIn("BENCH_DIR", str(caught.exception))

    def test_shared_memory_of_a_client_that_was_killed_goes_with_its_mount(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            memory, other = Path(folder) / "hf3fs-iov-1", Path(folder) / "other"
            mount = Path(folder) / "case"
            (mount / space.IOVS).mkdir(parents=True)
            for number, file in enumerate((memory, other)):
                file.write_text("", encoding="utf-8")
                (mount / space.IOVS / str(number)).symlink_to(file)
            space.remove_tree(mount)
            self.assertEqual([entry.name for entry in Path(folder).iterdir()], ["other"])

    def test_scratch_is_gone_at_the_end_and_nothing_else(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "mine").write_text("", encoding="utf-8")
            scratch = space.Scratch({"disk": Path(folder)})
            (scratch.places["disk"] / "case").mkdir()
            scratch.remove()
            self.assertEqual([entry.name for entry in Path(folder).iterdir()], ["mine"])


class Workers(unittest.TestCase):
    def worker(self, folder: str, program: str) -> Worker:
        return Worker("one", [sys.executable, "-c", program], {}, Path(folder) / "log")

    def test_a_failed_command_raises_with_its_reason(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            worker = self.worker(folder, "input(); print('{\"ok\": false, \"error\": \"WRONG BYTES\"}')")
            try:
                with self.assertRaisesRegex(WorkerError, "WRONG BYTES"):
                    worker.ask("get")
            finally:
                worker.kill()

    def test_one_that_dies_raises(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            worker = self.worker(folder, "raise SystemExit(1)")
            try:
                with self.assertRaisesRegex(WorkerError, "died"):
                    worker.ask("get")
            finally:
                worker.kill()

    def test_an_engine_that_failed_takes_no_further_turn_and_has_no_samples(self) -> None:
        def turn(name: str, number: int, samples: Samples) -> None:
            asked.append((number, name))
            if name == "peer" and number == 1:
                raise WorkerError("WRONG BYTES")
            samples.values.append(1.0)

        asked: "list[tuple[int, str]]" = []
        turns = Turns(["ours", "peer"])
        for number in range(3):
            turns.round("put", number, turn)
        self.assertEqual(asked, [(0, "ours"), (0, "peer"), (1, "peer"), (1, "ours"), (2, "ours")])
        self.assertIsNone(turns.of("put", "peer"))
        self.assertEqual(turns.of("put", "ours").values, [1.0, 1.0, 1.0])


if __name__ == "__main__":
    unittest.main()
