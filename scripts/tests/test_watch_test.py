"""Tests of watch-test.py, with shells in place of test binaries."""

import pathlib
import subprocess
import sys
import unittest

SCRIPT = pathlib.Path(__file__).parents[1] / "watch-test.py"
# Seconds that something which ends may take, on a machine that may be busy.
ENDS_SECONDS_MAX = 60


def watch(seconds, *command):
    return subprocess.run(
        [sys.executable, SCRIPT, str(seconds), *command], capture_output=True, text=True, timeout=2 * ENDS_SECONDS_MAX
    )


class WatchTest(unittest.TestCase):
    def test_what_ends_in_time_is_left_alone(self):
        ended = watch(ENDS_SECONDS_MAX, "sh", "-c", "echo said; exit 7")
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (7, "said\n", ""))

    def test_a_signal_that_ends_it_is_told_as_a_shell_does(self):
        self.assertEqual(watch(ENDS_SECONDS_MAX, "sh", "-c", "kill -ABRT $$").returncode, 134)

    def test_what_does_not_end_is_shown_and_killed_with_its_children(self):
        # The pipe of its output ends only with the child, so that this call does as well.
        ended = watch(1, "sh", "-c", "sleep 1000 & wait")
        self.assertEqual(ended.returncode, 124)
        self.assertIn("sleep 1000", ended.stderr)
        self.assertIn("system call", ended.stderr)

    def test_signals_come_to_the_program_as_they_would_without(self):
        plain = subprocess.run(["sh", "-c", "grep Sig /proc/self/status"], capture_output=True, text=True)
        self.assertEqual(watch(ENDS_SECONDS_MAX, "sh", "-c", "grep Sig /proc/self/status").stdout, plain.stdout)


if __name__ == "__main__":
    unittest.main()
