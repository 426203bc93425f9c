"""Batches of puts and gets: ours and the peers in turns, on one file system, with the same sizes."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Dict, List

from cases import Throughput
from harness.context import Context
from harness.engines import OURS, Session, Shape
from harness.fio import Fio, Setting
from harness.rows import Row, Samples
from harness.turns import Turns

OPERATIONS = ("put", "get")
# A batch on tmpfs takes milliseconds: so many of them are one measurement that it lasts this long.
SPAN_S = 0.12
POINT_SPAN_S = 0.06
REPETITIONS_MAX = 32
# A dynamic store keeps a file for each object until the round is over.
DYNAMIC_REPETITIONS_MAX = 3


def pool_files(directory: Path) -> List[Path]:
    """The files in which our static pool keeps its slots."""
    return sorted(directory.glob("store/nixl_store_pool*/slots-*.bin"))


class ThroughputRun:
    """One case."""

    def __init__(self, case: Throughput, context: Context) -> None:
        self.case = case
        self.context = context
        self.directory = context.places[case.place] / case.name
        missing = {name: context.engines.missing(name) for name in case.peers}
        self.missing = {name: why for name, why in missing.items() if why is not None}
        self.turns = Turns([OURS, *(name for name in case.peers if name not in self.missing)])
        self.sessions: Dict[str, Session] = {}
        self.fio: Dict[str, Fio] = {}
        self.repetitions = 1

    def run(self) -> List[Row]:
        lacking = self.context.engines.missing_for(self.case.backend)
        if lacking is not None:
            return [Row(self.case.title, operation, "GB/s", None, note=lacking) for operation in OPERATIONS]
        rounds = range(self.context.rounds_of(self.case.is_point))
        # How fast memory is copied, and read into, depends on which physical pages a process and its files happen to
        # have: by up to 1.7 from one life of a program to the next, and whoever opens first gets the worst. So each
        # round has fresh processes and files, and another engine that opens first.
        for life in [rounds] if self.case.is_point else [[number] for number in rounds]:
            self.directory = self.context.directory(self.case.place, self.case.name)
            try:
                self._open(life[0])
                for number in life:
                    self._round(number)
            finally:
                self._close()
        return [self._row(operation, peer) for operation in OPERATIONS for peer in self.case.peers or [""]]

    def _open(self, number: int) -> None:
        batch = self.case.batch * self.case.threads
        live = batch * (DYNAMIC_REPETITIONS_MAX + 1) if self.case.dynamic else batch
        shape = Shape(self.case.object_bytes, live, batch, self.case.dynamic)
        for name in self.turns.order(number):
            if name != "fio":
                self.turns.attempt(name, lambda name=name: self._open_one(name, shape))
        if "fio" in self.turns.names:
            self.turns.attempt("fio", self._prepare_fio)

    def _open_one(self, name: str, shape: Shape) -> None:
        self.sessions[name] = session = self.context.engines.open(
            name, self.directory / name, shape, self.case.backend, self.case.memory,
        )
        # Every slot is written, so that all rounds find the same: a full pool of written blocks.
        warm = session.ask("put", batch=self.case.batch, threads=self.case.threads, repetitions=3, seed=1)
        if self.case.dynamic:
            session.ask("remove")
        if name == OURS:
            span_s = POINT_SPAN_S if self.case.is_point or self.context.quick else SPAN_S
            repetitions = math.ceil(span_s / max(warm["seconds"] / 3, 1e-6))
            self.repetitions = min(repetitions, DYNAMIC_REPETITIONS_MAX if self.case.dynamic else REPETITIONS_MAX)
            self.context.details.setdefault("store", {})[self.case.name] = session.facts

    def _prepare_fio(self) -> None:
        """It reads the very files of our pool, and writes a file of its own that is reserved and written once."""
        pool = pool_files(self.directory / OURS)
        written = self.directory / "fio-write.bin"
        with written.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.case.batch_bytes)
        self.fio = {
            "get": Fio(pool, min(file.stat().st_size for file in pool)),
            "put": Fio([written], self.case.batch_bytes),
        }
        self.fio["put"].fill(min(self.case.object_bytes, 1 << 20))
        for operation in OPERATIONS:
            self._fio_setting(operation)

    def _fio_setting(self, operation: str) -> Setting:
        largest = min(self.case.object_bytes, 1 << 20)
        settings = self.context.fio_settings
        key = (self.case.place, operation, largest)
        if key not in settings:
            settings[key] = self.fio[operation].best("read" if operation == "get" else "write", largest)
        return settings[key]

    def _round(self, number: int) -> None:
        for operation in OPERATIONS:
            self.turns.round(operation, number, lambda *turn, operation=operation: self._turn(operation, *turn))
        if self.case.dynamic:
            for name, session in self.sessions.items():
                self.turns.attempt(name, lambda session=session: session.ask("remove"))

    def _turn(self, operation: str, name: str, number: int, samples: Samples) -> None:
        if name == "fio":
            direction = "read" if operation == "get" else "write"
            done, cpu_s_per_gb = self.fio[operation].run_with_cpu(direction, self._fio_setting(operation))
            samples.values.append(done.bytes_per_s / 1e9)
            samples.cpu_s_per_gb.append(cpu_s_per_gb)
            return
        answer = self.sessions[name].ask(
            operation, batch=self.case.batch, threads=self.case.threads, repetitions=self.repetitions, seed=number + 2,
        )
        samples.values.append(answer["bytes"] / answer["seconds"] / 1e9)
        samples.cpu_s_per_gb.append((answer["user_s"] + answer["system_s"]) / answer["bytes"] * 1e9)

    def _row(self, operation: str, peer: str) -> Row:
        ours = self.turns.of(operation, OURS)
        row = Row(self.case.title, operation, "GB/s", ours, peer, target=self.case.peers.get(peer))
        if OURS in self.turns.failed:
            row.note = f"FAILED: {self.turns.failed[OURS]}"
        elif peer in self.missing:
            row.note = self.missing[peer]
        elif peer in self.turns.failed:
            row.note = f"FAILED: {self.turns.failed[peer]}"
        elif peer:
            row.peer = self.turns.of(operation, peer)
        return row

    def _close(self) -> None:
        for name, session in self.sessions.items():
            self.turns.attempt(name, session.close)
        self.sessions.clear()
        for name in self.turns.names:
            # LMCache takes seconds to start, nearly all of them Python's.
            if name in self.turns.failed or not (self.case.is_point or name == "lmcache"):
                self.context.engines.discard(name)
