"""Single gets and puts: how long the caller waits, at the middle and at the end of the distribution."""

from __future__ import annotations

import math
from typing import Dict, List, Sequence

from cases import POSIX, Latency
from harness.context import Context
from harness.engines import OURS, Session, Shape
from harness.rows import Row, Samples
from harness.throughput import pool_files
from harness.turns import Turn, Turns

LIVE_OBJECTS = 96
MEMORY_OBJECTS = 8
PWRITE = "pwrite"
TAILS = (("p99", 0.99), ("p99.9", 0.999))


def percentile(sorted_samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of them does not exceed."""
    # Rounded first, because 0.999 * 1000 is a little more than 999.
    rank = math.ceil(round(len(sorted_samples) * share, 6))
    return sorted_samples[max(rank, 1) - 1]


class LatencyRun:
    """One case. The bare pread reads the files that our store wrote, the bare pwrite has a file of its own."""

    def __init__(self, case: Latency, context: Context) -> None:
        self.case = case
        self.context = context
        self.directory = context.directory(case.place, case.name)
        missing = {name: context.engines.missing(name) for name in case.peers}
        self.missing = {name: why for name, why in missing.items() if why is not None}
        present = [OURS, *(name for name in case.peers if name not in self.missing)]
        self.turns = Turns([*present, *([PWRITE] if "pread" in present else [])])
        self.sessions: Dict[str, Session] = {}
        self.all_us: Dict[str, Dict[str, List[float]]] = {"get": {}, "put": {}}

    def run(self) -> List[Row]:
        if self.case.backend != POSIX:
            # One of another case may have been started without what this backend needs.
            self.context.engines.discard(OURS)
        try:
            for name in self.turns.names:
                self.turns.attempt(name, lambda name=name: self._open(name))
            for number in range(self.context.rounds):
                for operation, idle in (("put", "pread"), ("get", PWRITE)):
                    names = [name for name in self.turns.names if name != idle]
                    self.turns.round(operation, number, self._turn(operation), names)
        finally:
            self._close()
        rows = [self._row(operation, peer) for operation in ("get", "put") for peer in self.case.peers]
        return rows + [self._tail(tail, share, peer) for tail, share in TAILS for peer in self.case.peers]

    def _open(self, name: str) -> None:
        shape = Shape(self.case.object_bytes, LIVE_OBJECTS, MEMORY_OBJECTS)
        more = {}
        if name == "pread":
            files = pool_files(self.directory / OURS)
            slots = LIVE_OBJECTS + MEMORY_OBJECTS
            # Files that have fewer slots than others come last.
            stride = files[0].stat().st_size // -(-slots // len(files))
            more = {"paths": ":".join(map(str, files)), "stride": stride}
        self.sessions[name] = session = self.context.engines.open(
            name, self.directory / name, shape, self.case.backend, self.case.memory, **more,
        )
        if name != "pread":
            session.ask("put", repetitions=2 * LIVE_OBJECTS // MEMORY_OBJECTS, seed=1)

    def _turn(self, operation: str) -> Turn:
        def turn(name: str, number: int, samples: Samples) -> None:
            count = self.case.count // 3 if self.context.quick else self.case.count
            answer = self.sessions[name].ask("latency", operation=operation, count=count, seed=number + 2)
            measured = answer["samples_us"]
            samples.values.append(percentile(sorted(measured), 0.5))
            self.all_us[operation].setdefault(name, []).extend(measured)

        return turn

    def _row(self, operation: str, peer: str) -> Row:
        shown = PWRITE if (operation, peer) == ("put", "pread") else peer
        row = Row(self.case.title, f"{operation} p50", "µs", self.turns.of(operation, OURS), shown)
        row.target = self.case.peers[peer] if operation == "get" else None
        return self._finish(row, operation, shown, peer)

    def _tail(self, tail: str, share: float, peer: str) -> Row:
        """Of all rounds together: one round has too few samples for it."""
        row = Row(self.case.title, f"get {tail}", "µs", self._pooled(OURS, share), peer)
        row = self._finish(row, "get", peer, peer)
        if row.peer is not None:
            row.peer = self._pooled(peer, share)
        return row

    def _pooled(self, name: str, share: float) -> "Samples | None":
        measured = self.all_us["get"].get(name)
        return Samples([percentile(sorted(measured), share)]) if measured else None

    def _finish(self, row: Row, operation: str, name: str, peer: str) -> Row:
        failed = self.turns.failed.get(OURS) or self.turns.failed.get(name)
        if failed:
            row.note = f"FAILED: {failed}"
        elif peer in self.missing:
            row.note = self.missing[peer]
        else:
            row.peer = self.turns.of(operation, name)
        return row

    def _close(self) -> None:
        for name, session in self.sessions.items():
            self.turns.attempt(name, session.close)
        for name in self.turns.names:
            if name in self.turns.failed or self.case.backend != POSIX:
                self.context.engines.discard(name)
