"""Batches of puts and gets against an S3 server: ours and the peers in turns, and what each costs in processor time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Dict, List, Optional

from cases import ObjectStore
from harness import servers
from harness.context import Context
from harness.engines import OURS, Session, Shape
from harness.rows import Row, Samples
from harness.servers import Server
from harness.stats import Target
from harness.turns import Turns
from harness.workers import WorkerError

OPERATIONS = ("put", "get")
# Both of NIXL's clients; what is asked of us is asked beside the one that is faster here, unless the case names one.
NIXL_CLIENTS = ("nixl", "nixl-crt")
# One measurement lasts this long where the server is not what is slow.
SPAN_S = 0.25
REPETITIONS_MAX = 8


class ObjectStoreRun:
    """One case: one server in a directory of its own, fresh processes of the engines in each round."""

    def __init__(self, case: ObjectStore, context: Context) -> None:
        self.case = case
        self.context = context
        missing = {name: context.engines.missing(name) for name in case.peers}
        self.missing = {name: why for name, why in missing.items() if why is not None}
        self.turns = Turns([OURS, *(name for name in case.peers if name not in self.missing)])
        self.sessions: Dict[str, Session] = {}
        self.repetitions = 1
        self.server: Optional[Server] = None

    def run(self) -> List[Row]:
        absent = servers.missing(self.case.server, self.context.peers)
        if absent is not None:
            return [Row(self.case.title, operation, "GB/s", None, note=absent) for operation in OPERATIONS]
        directory = self.context.directory(self.case.place, self.case.name)
        log = self.context.binaries.parent / "servers.log"
        self.server = Server(self.case.server, directory, self.context.binaries, self.context.peers, log)
        try:
            for number in range(self.context.rounds):
                try:
                    self._open(number, directory)
                    self._round(number)
                finally:
                    self._close()
        finally:
            self.server.close()
        return [row for operation in OPERATIONS for row in self._rows(operation)]

    def _open(self, number: int, directory: Path) -> None:
        batch = self.case.batch
        for name in self.turns.order(number):
            self.turns.attempt(name, lambda name=name: self._open_one(name, directory, Shape(
                self.case.object_bytes, batch, batch, dynamic=True)))

    def _open_one(self, name: str, directory: Path, shape: Shape) -> None:
        assert self.server is not None
        where = directory / "engines" / name
        self.sessions[name] = session = self.context.engines.open_s3(name, where, self.server.endpoint, shape)
        # Connections are made, and every byte is read back and compared: on a server that only counts for once.
        self.server.keep_puts(True)
        warm = session.ask("put", seed=1)
        if name == OURS:
            if self.server.can_count:
                wanted = math.ceil(SPAN_S / max(warm["seconds"], 1e-6))
                self.repetitions = min(wanted, REPETITIONS_MAX)
            self.context.details.setdefault("store", {})[self.case.name] = session.facts

    def _round(self, number: int) -> None:
        assert self.server is not None
        self.server.keep_puts(False)
        self.turns.round("put", number, self._put)
        self.server.keep_puts(True)
        if self.server.can_count:
            for name, session in self.sessions.items():
                self.turns.attempt(name, lambda session=session: session.ask("put", seed=number + 2))
        self.turns.round("get", number, self._get)

    def _put(self, name: str, number: int, samples: Samples) -> None:
        assert self.server is not None
        check = 0 if self.server.can_count else 1
        self._measure("put", name, samples, seed=number + 2, check=check)

    def _get(self, name: str, number: int, samples: Samples) -> None:
        self._measure("get", name, samples, seed=number + 2)

    def _measure(self, operation: str, name: str, samples: Samples, **more: int) -> None:
        answer = self.sessions[name].ask(operation, repetitions=self.repetitions, **more)
        samples.values.append(answer["bytes"] / answer["seconds"] / 1e9)
        samples.cpu_s_per_gb.append((answer["user_s"] + answer["system_s"]) / answer["bytes"] * 1e9)

    def _better_nixl(self, operation: str) -> Optional[str]:
        known = {name: self.turns.of(operation, name) for name in NIXL_CLIENTS if name in self.case.peers}
        values = {name: samples.median for name, samples in known.items() if samples is not None and samples.values}
        return max(values, key=lambda name: values[name]) if values else None

    def _rows(self, operation: str) -> List[Row]:
        """Throughput beside each peer, then processor time beside the better of NIXL's clients and bare sockets."""
        better = self._better_nixl(operation)
        asked = self.case.targets.get(operation)
        beside = asked.peer if asked is not None and asked.peer is not None else better
        rows = []
        for peer in self.case.peers:
            row = Row(self.case.title, operation, "GB/s", self.turns.of(operation, OURS), peer)
            row.target = asked.throughput if asked is not None and peer == beside else None
            rows.append(self._finish(row, operation, peer))
        costs = ((better, asked.cpu if asked else None), ("sockets", asked.cpu_of_sockets if asked else None))
        for peer, target in costs:
            if peer is not None and peer in self.case.peers:
                rows.append(self._finish(self._cpu_row(operation, peer, target), operation, peer, cpu=True))
        return rows

    def _cpu_row(self, operation: str, peer: str, target: Optional[Target]) -> Row:
        ours = self.turns.of(operation, OURS)
        mine = None if ours is None else Samples(ours.cpu_s_per_gb)
        return Row(self.case.title, f"{operation} CPU", "s/GB", mine, peer, target=target)

    def _finish(self, row: Row, operation: str, peer: str, cpu: bool = False) -> Row:
        if OURS in self.turns.failed:
            row.ours = None
            row.note = f"FAILED: {self.turns.failed[OURS]}"
        elif peer in self.missing:
            row.note = self.missing[peer]
        elif peer in self.turns.failed:
            row.note = f"FAILED: {self.turns.failed[peer]}"
        else:
            samples = self.turns.of(operation, peer)
            row.peer = Samples(samples.cpu_s_per_gb) if cpu and samples is not None else samples
        return row

    def _close(self) -> None:
        for name, session in self.sessions.items():
            self.turns.attempt(name, session.close)
        self.sessions.clear()
        for name in self.turns.names:
            self.context.engines.discard(name)
        if self.server is not None:
            try:
                self.server.clear()
            except WorkerError as error:
                self.turns.failed.setdefault(OURS, str(error))
