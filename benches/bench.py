#!/usr/bin/env python3
"""The benchmark: nixl-store beside NIXL, LMCache, fio and bare system calls, in one run, on one file system.

Run by `make bench`, which builds what this needs. Variables:

    BENCH_DIR     directory on the disk that is measured (build/bench/data); it is removed at the end
    BENCH_TMPFS   directory in memory (/dev/shm)
    BENCH_ROUNDS  rounds of each case (7); points of the picture have at most 3
    BENCH_CASES   names of cases with commas between them, or beginnings of names; default all
    BENCH_QUICK   1: three rounds, no points of the picture, smaller pools
    BENCH_PEERS   Python environment with NIXL and LMCache (build/peers, made by `make bench-peers`)

Results: the table on the terminal, and build/bench/report.md, result.json and throughput.svg. The exit status is 1 if
an engine failed or delivered wrong bytes; a target that is missed is no failure, for the machine may be busy.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import List, Tuple

from cases import CASES, DISK, TMPFS, Case
from harness import peers as peers_module
from harness import report
from harness.context import Context
from harness.engines import Engines
from harness.facts import machine_facts
from harness.measure import measure
from harness.options import Options, OptionError, read_options
from harness.rows import Row
from harness.space import Scratch, SpaceError, check_space
from harness.table import text_table
from harness.workers import WorkerPool

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"


def selected(options: Options) -> Tuple[Case, ...]:
    """The cases that were asked for."""
    if options.names:
        unknown = [name for name in options.names if not any(case.name.startswith(name) for case in CASES)]
        if unknown:
            known = ", ".join(case.name for case in CASES)
            raise OptionError(f"BENCH_CASES: there is no case {unknown[0]}; there are {known}")
        return tuple(case for case in CASES if any(case.name.startswith(name) for name in options.names))
    return tuple(case for case in CASES if not (options.quick and getattr(case, "is_point", False)))


def run(options: Options, cases: Tuple[Case, ...]) -> Tuple[List[Row], List[Path]]:
    """Rows, and the files that tell of them."""
    peers = peers_module.find(options.peers)
    workers = WorkerPool(OUT / "workers.log")
    scratch = Scratch({DISK: options.disk, TMPFS: options.tmpfs})
    facts = machine_facts(ROOT, options, peers)
    context = Context(
        engines=Engines(OUT / "bin" / "worker", ROOT / "benches" / "lmcache_worker.py", peers, workers),
        peers=peers, binaries=OUT / "bin", places=scratch.places, rounds=options.rounds, quick=options.quick,
    )
    started = time.monotonic()
    try:
        for number, case in enumerate(cases, 1):
            print(f"bench: {number} of {len(cases)}: {case.title}", file=sys.stderr, flush=True)
            context.rows += measure(case, context)
            scratch.clear()
    finally:
        workers.kill_all()
        scratch.remove()
    facts["wall_s"] = round(time.monotonic() - started, 1)
    return context.rows, report.write(OUT, context, facts, cases)


def main() -> int:
    # So that an end asked for from outside cleans up as Ctrl-C does, also for a shell's background job, which is
    # started with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        options = read_options(os.environ, ROOT)
        cases = selected(options)
        check_space(options, cases)
    except (OptionError, SpaceError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        rows, files = run(options, cases)
    except KeyboardInterrupt:
        print("bench: interrupted; its data is removed", file=sys.stderr)
        return 130
    print(text_table(rows))
    print(f"\nWritten: {', '.join(str(file.relative_to(ROOT)) for file in files)}")
    failed = [row for row in rows if row.note.startswith("FAILED")]
    for note in sorted({row.note for row in failed}):
        print(f"bench: {note}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
