"""A rule that every shell script of this repository keeps, because what breaks it fails now and then only."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = (".ci", "scripts", "tests", "examples-c", "examples-python")
# What ends before it has read everything.
EARLY_READER = re.compile(r"\|\s*(?:head\b|grep(?:\s+-\S+)*\s+(?:-\w*[qm]|--quiet|--max-count))")


def scripts():
    """Path and text of every script in which a pipe fails with any of its commands."""
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        with path.open("rb") as file:
            if not re.match(rb"#!.*\b(?:ba)?sh\b", file.readline(200)):
                continue
        text = path.read_text()
        if re.search(r"^\s*set .*\bpipefail\b", text, re.MULTILINE):
            yield path.relative_to(ROOT), text


class Pipes(unittest.TestCase):
    """With pipefail, `make -n | grep -q x` fails though x is there: grep ends at its first match, and make, which still
    has something to write, is ended by SIGPIPE. Whether it has is a matter of chance."""

    def test_nothing_that_ends_early_reads_from_a_pipe(self):
        found, seen = [], 0
        for name, text in scripts():
            seen += 1
            for number, line in enumerate(text.splitlines(), 1):
                if EARLY_READER.search(line) and not line.lstrip().startswith("#"):
                    found.append(f"{name}:{number}: {line.strip()}")
        self.assertGreater(seen, 10, "the scripts were not found")
        self.assertEqual(found, [], "grep PATTERN >/dev/null and sed -n 1p read everything")

    def test_the_rule_knows_what_it_looks_for(self):
        for line in ("a | grep -q b", "a | grep -qF -- b", "a |head -n 1", "a | grep -F -m 1 b", "a | grep --quiet b"):
            self.assertRegex(line, EARLY_READER)
        for line in ("a | grep b >/dev/null", "grep -q b file", "a || grep -c b file", "a | grep -v b", "a | sed -n 1p"):
            self.assertNotRegex(line, EARLY_READER)


if __name__ == "__main__":
    unittest.main()
