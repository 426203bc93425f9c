"""Part one: LMCache's own benchmark, `lmcache bench l2`, over the four adapters, in turns.

Usage: bench.py <disk directory> <tmpfs directory>; DEMO_QUICK=1 makes it short.

Every run is a process of its own with a fresh directory, and every turn runs the four one after the other, so that a
minute in which the machine is slow is slow for all. Ratios are taken within a turn, then their median. CPU is user and
system time of the whole process, its kernel threads for I/O included, between the two times that LMCache's benchmark
takes around a round: what it does before and after, such as filling memory, is not in it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import time
from typing import Any, Dict, List, NamedTuple

import adapters
import processes

QUICK = os.environ.get("DEMO_QUICK", "0") not in ("", "0")
KEYS = 64
WARMUP_ROUNDS = 1
ROUNDS = 2 if QUICK else 6
TURNS = int(os.environ.get("DEMO_TURNS", "1" if QUICK else "5"))
# The goal of nixl-store, as a multiple of the better of LMCache's two: on a disk the disk is the limit.
GOALS = {"disk": 1.0, "tmpfs": 1.5}


class Measured(NamedTuple):
    """One run of one adapter."""

    store_gb_s: float
    load_gb_s: float
    store_cpu_us: float
    load_cpu_us: float
    verified: bool


class Clock:
    """Stands in for the module `time` in LMCache's benchmark, and notes the CPU time whenever it asks for the time."""

    def __init__(self) -> None:
        self.cpu_s: List[float] = []

    def perf_counter(self) -> float:
        """The time, and by the way the CPU time so far."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.cpu_s.append(usage.ru_utime + usage.ru_stime)
        return time.perf_counter()

    def windows(self) -> List[float]:
        """CPU seconds from each odd call to the one behind it: LMCache asks once before a round and once after."""
        return [end - begin for begin, end in zip(self.cpu_s[::2], self.cpu_s[1::2])]


def run_benchmark(adapter: adapters.Adapter, place: adapters.Place, report: str) -> List[float]:
    """`lmcache bench l2` in this process; writes its report as JSON and gives the CPU seconds of each round."""
    from lmcache.cli.commands.bench.l2_adapter_bench import runner
    from lmcache.cli.main import main

    clock = Clock()
    runner.time = clock
    sys.argv = [
        "lmcache", "bench", "l2", "--l2-adapter", adapter.spec(place), "--no-skip-verify", "--num-keys", str(KEYS),
        "--data-size-kb", "1024", "--l1-align-bytes", str(adapter.align_bytes), "--in-flight", "1",
        "--rounds", str(ROUNDS), "--warmup-rounds", str(WARMUP_ROUNDS), "--lookup-max-hit-rate", "1",
        "--format", "json", "--output", report,
    ]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    return clock.windows()


def measure(adapter: adapters.Adapter, parent: str, direct: bool, log: str) -> Measured:
    """Runs the benchmark once over an adapter, in a directory that is gone afterwards."""
    folder = tempfile.mkdtemp(prefix="bench.", dir=parent)
    try:
        place = adapters.Place(os.path.join(folder, "l2"), direct, (ROUNDS + WARMUP_ROUNDS) * KEYS, adapters.MIB)
        os.mkdir(place.folder)
        report = os.path.join(folder, "report.json")
        outcome = processes.run(run_benchmark, adapter, place, report, log=log)
        if outcome.error:
            raise SystemExit(f"{adapter.name}: {outcome.error}; what it said is in {log}")
        with open(report) as file:
            return read_report(json.load(file), outcome.answer)
    finally:
        shutil.rmtree(folder)


def read_report(report: Dict[str, Any], cpu_s: List[float]) -> Measured:
    """The figures of LMCache's report that the table shows."""
    phases = {section["operation"]: section for section in report["metrics"].values() if "operation" in section}
    rounds = WARMUP_ROUNDS + ROUNDS
    complete = all(phase["total_success"] == phase["total_keys"] > 0 for phase in phases.values())
    # The phases come in the order store, lookup, load, each with its warm-up rounds first.
    store, load = (cpu_s[at + WARMUP_ROUNDS : at + rounds] for at in (0, 2 * rounds))

    def gb_s(phase: Dict[str, Any]) -> float:
        return KEYS * adapters.MIB / (phase["duration_p50_ms"] / 1e3) / 1e9

    # The benchmark ends with an exit code if a loaded chunk is not the stored one, so that arriving here is a proof.
    return Measured(
        gb_s(phases["Store"]),
        gb_s(phases["Load"]),
        statistics.median(store) / KEYS * 1e6,
        statistics.median(load) / KEYS * 1e6,
        complete and len(cpu_s) == 3 * rounds,
    )


def table(title: str, runs: Dict[str, List[Measured]]) -> None:
    """Medians of the turns, an adapter a line."""
    print(f"\n  {title}\n")
    print(f"  {'':27} {'GB/s':>15}   {'CPU us a key':>15}   verified")
    print(f"  {'':27} {'store':>7} {'load':>7}   {'store':>7} {'load':>7}")
    for name, measured in runs.items():
        store, load, store_cpu, load_cpu = (statistics.median(column) for column in list(zip(*measured))[:4])
        verified = "yes" if all(run.verified for run in measured) else "NO"
        print(f"  {name:27} {store:7.2f} {load:7.2f}   {store_cpu:7.0f} {load_cpu:7.0f}   {verified:>8}")


def ratios(medium: str, compared: List[adapters.Adapter], runs: Dict[str, List[Measured]]) -> None:
    """Each of nixl-store's two over the better of LMCache's, turn by turn."""
    peers = [adapter.name for adapter in compared if not adapter.ours]
    if not peers:
        return
    note = "a quick run, too short to judge by" if QUICK else f"the goal is {GOALS[medium]:.1f} x"
    print(f"\n  over the better of LMCache's ({note})")
    for adapter in compared:
        if not adapter.ours:
            continue
        factors = []
        for column in ("store_gb_s", "load_gb_s"):
            turns = range(len(runs[adapter.name]))
            best = [max(getattr(runs[peer][turn], column) for peer in peers) for turn in turns]
            mine = [getattr(run, column) for run in runs[adapter.name]]
            factors.append(statistics.median(one / other for one, other in zip(mine, best)))
        marks = ["" if QUICK else "reached" if factor >= GOALS[medium] else "MISSED" for factor in factors]
        columns = zip(("store", "load"), factors, marks)
        shown = "   ".join(f"{name} {factor:4.2f} x {mark:7}" for name, factor, mark in columns)
        print(f"  {adapter.name:27} {shown}".rstrip())


def main() -> int:
    """Runs all turns and prints a table for each medium."""
    folders = dict(zip(("disk", "tmpfs"), map(os.path.abspath, sys.argv[1:3])))
    titles = {"disk": "On disk, O_DIRECT", "tmpfs": "On tmpfs"}
    log = os.path.join(os.environ.get("DEMO_OUT", "."), "bench.log")
    # So that what is being done is undone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    compared = adapters.chosen()
    adapters.load()
    turns = "1 turn" if TURNS == 1 else f"{TURNS} turns"
    print(f"  {KEYS} chunks of 1 MiB a round, {ROUNDS} rounds a run, medians of {turns}")
    verified = True
    for medium, parent in folders.items():
        runs: Dict[str, List[Measured]] = {adapter.name: [] for adapter in compared}
        for turn in range(TURNS):
            # Another one begins each time, so that none always runs behind the same one.
            first = turn % len(compared)
            for adapter in compared[first:] + compared[:first]:
                if sys.stdout.isatty():
                    print(f"\r  {medium}: turn {turn + 1} of {TURNS}, {adapter.name:27}", end="", flush=True)
                runs[adapter.name].append(measure(adapter, parent, medium == "disk", log))
        if sys.stdout.isatty():
            print("\r" + " " * 79 + "\r", end="")
        table(titles[medium], runs)
        ratios(medium, compared, runs)
        verified = verified and all(run.verified for adapter in compared if adapter.ours for run in runs[adapter.name])
    return 0 if verified else 1


if __name__ == "__main__":
    sys.exit(main())
