"""Rows of the S3 cases: which of NIXL's clients we are held against, and what an absent server looks like."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Dict, List

from cases import CASES, MEMORY_SERVER, SEAWEEDFS, ObjectStore
from harness.engines import OURS
from harness.object_store import ObjectStoreRun
from harness.peers import Peers
from harness.rows import Row, Samples
from harness.servers import Endpoint, Server


def case_named(name: str) -> ObjectStore:
    return next(case for case in CASES if isinstance(case, ObjectStore) and case.name == name)


def run_of(case: ObjectStore, missing: "Dict[str, str] | None" = None, root: str = "/nowhere") -> ObjectStoreRun:
    engines = SimpleNamespace(missing=lambda name: (missing or {}).get(name))
    return ObjectStoreRun(case, SimpleNamespace(engines=engines, peers=Peers(Path(root)), rounds=2))


def measured(run: ObjectStoreRun, gb_per_s: Dict[str, float]) -> List[Row]:
    """Rows of puts whose processor time is one second for each GB/s, so that a mix-up shows."""
    run.turns.samples["put"] = {name: Samples([value, value], [value, value]) for name, value in gb_per_s.items()}
    return run._rows("put")


class Rows(unittest.TestCase):
    def test_what_is_asked_stands_beside_the_faster_of_nixls_clients(self) -> None:
        for nixl, crt, better in ((1.0, 2.0, "nixl-crt"), (2.0, 1.0, "nixl")):
            gb_per_s = {OURS: 8.0, "nixl": nixl, "nixl-crt": crt, "sockets": 4.0}
            rows = measured(run_of(case_named("s3-memory-1m")), gb_per_s)
            asked = {(row.operation, row.peer_name): str(row.target) for row in rows if row.target is not None}
            self.assertEqual(
                asked, {("put", better): "≥ 4", ("put CPU", better): "≤ 0.25", ("put CPU", "sockets"): "≤ 1.3"},
            )
            self.assertEqual([row.verdict for row in rows if row.peer_name == better], ["ok", "above"])

    def test_a_case_may_name_the_client_that_it_asks_beside(self) -> None:
        rows = measured(run_of(case_named("s3-seaweedfs-1m")), {OURS: 5.0, "nixl": 2.0, "nixl-crt": 4.0})
        asked = {(row.operation, row.peer_name): row.verdict for row in rows if row.target is not None}
        self.assertEqual(asked, {("put", "nixl"): "ok"})

    def test_processor_time_is_compared_round_by_round(self) -> None:
        rows = measured(run_of(case_named("s3-memory-1m")), {OURS: 3.0, "nixl": 2.0, "nixl-crt": 1.0, "sockets": 4.0})
        ratios = {row.peer_name: row.ratio.median for row in rows if row.operation == "put CPU" and row.ratio}
        self.assertEqual(ratios, {"nixl": 1.5, "sockets": 0.75})

    def test_an_absent_peer_or_server_says_so_and_is_no_failure(self) -> None:
        run = run_of(case_named("s3-memory-1m"), {"nixl": "not installed", "nixl-crt": "not installed"})
        rows = measured(run, {OURS: 8.0, "sockets": 4.0})
        self.assertEqual({row.note for row in rows if row.peer_name == "nixl"}, {"not installed"})
        rows = run_of(case_named("s3-seaweedfs-1m")).run()
        self.assertEqual([row.note.split(":")[0] for row in rows], ["not installed", "not installed"])

    def test_a_failure_of_ours_fails_every_row(self) -> None:
        run = run_of(case_named("s3-memory-32m"))
        run.turns.failed[OURS] = "WRONG BYTES"
        rows = measured(run, {"nixl": 1.0, "nixl-crt": 2.0, "sockets": 4.0})
        self.assertEqual({row.verdict for row in rows}, {"FAILED: WRONG BYTES"})


class Servers(unittest.TestCase):
    def test_keys_are_not_shown(self) -> None:
        self.assertNotIn("secret", repr(Endpoint(1, "bench", "key", "a secret")).replace("secret_key", ""))

    def test_one_that_does_not_start_says_where_to_look(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            for kind in (SEAWEEDFS, MEMORY_SERVER):
                (here / "s3_memory").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
                (here / "s3_memory").chmod(0o700)
                with self.assertRaisesRegex(RuntimeError, "did not start; what it said is in"):
                    Server(kind, here, here, Peers(here), here / "log")


if __name__ == "__main__":
    unittest.main()
