"""How long an engine waits for its store at start, after a clean close and after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import List

from cases import DISK, Opening
from harness.context import Context
from harness.engines import OURS, Session, Shape
from harness.lookups import MEMORY_OBJECTS, OBJECT_BYTES
from harness.rows import Row, Samples

OPENINGS_MAX = 5


def reopen(context: Context, directory: Path, shape: Shape) -> Session:
    """In a fresh process."""
    context.engines.discard(OURS)
    return context.engines.open(OURS, directory, shape)


def measure_slots(context: Context, slots: int) -> "tuple[Samples, Samples]":
    """Milliseconds of open, for each kind of end."""
    closed, killed = Samples(), Samples()
    shape = Shape(OBJECT_BYTES, slots - MEMORY_OBJECTS, MEMORY_OBJECTS)
    directory = context.directory(DISK, f"open-{slots}")
    session = reopen(context, directory, shape)
    session.ask("fill", count=slots)
    session.close()
    for _ in range(min(context.rounds, OPENINGS_MAX)):
        session = reopen(context, directory, shape)
        closed.values.append(session.facts["open_s"] * 1e3)
        # The first put takes back what the clean close left for the next open.
        session.ask("put", batch=1, seed=1)
        session = reopen(context, directory, shape)
        killed.values.append(session.facts["open_s"] * 1e3)
        session.close()
    return closed, killed


def measure_opening(case: Opening, context: Context) -> List[Row]:
    rows: List[Row] = []
    largest = max(case.slots)
    for slots in case.slots:
        if context.quick and slots == largest:
            continue
        closed, killed = measure_slots(context, slots)
        for operation, samples, target in (("closed", closed, case.closed_ms), ("killed", killed, case.killed_ms)):
            row = Row(case.title, f"{slots:,} slots, {operation}", "ms", samples)
            row.target = target if slots == largest else None
            rows.append(row)
    return rows
