"""The check of the layers sees what it is there to see: each rule is broken once in a small tree of its own."""

import contextlib
import importlib.util
import io
import pathlib
import tempfile
import unittest
from unittest import mock

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "check-layers.py"
spec = importlib.util.spec_from_file_location("check_layers", SCRIPT)
check_layers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_layers)

# Rooms of equal size, so that none is too large.
SOUND = {f"{room}/mod.rs": "// a line\n" * 30 for row in check_layers.ROWS for room in row}


class Layers(unittest.TestCase):
    def problems(self, files, whole=True):
        """What is found in the sound tree with these files in place of its own, or added to them."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder) / "src"
            for name, text in {**(SOUND if whole else {}), **files}.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check_layers.problems(root)

    def assert_one(self, files, *parts):
        found = self.problems(files)
        self.assertEqual(len(found), 1, found)
        for part in parts:
            self.assertIn(part, found[0])

    def test_a_sound_tree_passes(self):
        self.assertEqual(self.problems({"capi/a.rs": "use crate::store::{self, Store};\nuse crate::sys::Event as E;\n"}), [])

    def test_an_arrow_up_is_found_in_every_spelling(self):
        for text in (
            "use crate::lane::Lane;",
            "pub(crate) use crate::{error::Error, lane::{get::Get as Other}};",
            "use\n    crate\n    ::lane::*;",
            "use super::super::lane::Lane;",
            "fn f() -> crate::lane::Lane { x }",
            "mod inner { use super::super::super::lane::Lane; }",
            "#[cfg(test)]\nmod tests { use crate::lane::Lane; }",
        ):
            with self.subTest(text):
                self.assert_one({"backend/posix.rs": text}, "src/backend/posix.rs:", "backend uses lane", "above it")

    def test_an_arrow_aside_is_found(self):
        self.assert_one({"layout/pool.rs": "\nuse crate::catalog::Slot;\n"}, "src/layout/pool.rs:2", "beside it")

    def test_text_and_comments_point_nowhere(self):
        text = "// use crate::lane::Lane;\n/* crate::lane::x */\nfn f<'a>() { \"crate::lane::x \\\" crate::lane\"; '\"'; r#\"crate::lane::y\"#; }"
        self.assertEqual(self.problems({"sys/a.rs": text}), [])

    def test_a_folder_without_a_row_is_told(self):
        self.assert_one({"helpers/mod.rs": "\n"}, "helpers is no room")

    def test_a_circle_of_two_files_is_found(self):
        files = {"sys/at.rs": "use super::dir::MODE;\n", "sys/dir.rs": "fn f() { super::at::open(); }\n"}
        self.assert_one(files, "2 files", "src/sys/at.rs:1 uses sys::dir::MODE", "src/sys/dir.rs:1 uses sys::at::open")

    def test_a_circle_of_three_files_is_found_through_what_a_parent_re_exports(self):
        files = {
            "memory/mod.rs": "pub use c::Thing;\n" * 30,
            "memory/a.rs": "use super::b::B;\n",
            "memory/b.rs": "use super::Thing;\n",
            "memory/c.rs": "use crate::memory::a::A;\n",
            "memory/d.rs": "use super::a::A;\n",
        }
        self.assert_one(files, "3 files", "a.rs", "src/memory/b.rs:1 uses memory::Thing of src/memory/c.rs", "c.rs")

    def test_a_parent_and_its_children_are_one_thing(self):
        files = {
            "lane/mod.rs": "mod get;\nuse get::Get;\nstruct Lane;\n" * 10,
            "lane/get.rs": "use super::Lane;\nuse crate::lane::Job;\n",
            "lane/get/deep.rs": "use super::super::Lane;\nuse super::Get;\n",
        }
        self.assertEqual(self.problems(files), [])

    def test_tests_may_close_a_circle(self):
        tests = "#[cfg(all(test, feature = \"x\"))]\nmod tests { use super::super::b::B; }\n"
        self.assertEqual(self.problems({"sys/a.rs": tests, "sys/b.rs": "use super::a::A;\n"}), [])
        self.assertEqual(len(self.problems({"sys/a.rs": tests + "use super::b::B;", "sys/b.rs": "use super::a::A;\n"})), 1)

    def test_a_room_that_grew_too_large_is_found_and_its_tests_are_not_counted(self):
        lines = "// a line\n" * 200
        self.assert_one({"lane/a.rs": lines}, "lane: 230 of", "one in 5")
        self.assertEqual(self.problems({"lane/a.rs": f"#[cfg(test)]\nmod tests {{\n{lines}}}\n"}), [])
        self.assertEqual(self.problems({"lane/a.rs": "#[cfg(test)]\nmod tests;\n", "lane/a/tests.rs": lines}), [])

    def test_a_file_that_grew_too_long_is_found_unless_it_is_named(self):
        files = {"sys/a.rs": "#[cfg(test)]\nmod tests {\n" + "// a line\n" * 500 + "}\n"}
        self.assert_one(files, "src/sys/a.rs: 503 lines, at most 500")
        with mock.patch.dict(check_layers.LONG_FILES, {"src/sys/a.rs": "a table"}):
            self.assertEqual(self.problems(files), [])

    def test_the_exit_status_tells(self):
        with tempfile.TemporaryDirectory() as folder:
            for text, status in (("", 0), ("use crate::capi::X;\n", 1)):
                for room, content in SOUND.items():
                    path = pathlib.Path(folder) / "src" / room
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(content + (text if room == "sys/mod.rs" else ""))
                with mock.patch("sys.argv", ["check-layers.py", f"{folder}/src"]):
                    with contextlib.redirect_stdout(io.StringIO()):
                        self.assertEqual(check_layers.main(), status)


if __name__ == "__main__":
    unittest.main()
