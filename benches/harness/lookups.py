"""Lookups of keys, and the memory that the index takes for each."""

from __future__ import annotations

from typing import List

from cases import DISK, Lookups
from harness.context import Context
from harness.engines import OURS, Session, Shape
from harness.rows import Row, Samples

OBJECT_BYTES = 4096
MEMORY_OBJECTS = 256
SMALL_POOL = 1024
# As the workers make them.
KEY_BYTES = 56
CHAIN = 128


def open_filled(context: Context, name: str, slots: int) -> Session:
    """A pool in a process of its own, full."""
    context.engines.discard(OURS)
    shape = Shape(OBJECT_BYTES, slots, MEMORY_OBJECTS)
    session = context.engines.open(OURS, context.directory(DISK, name), shape)
    session.ask("fill", count=slots)
    return session


def measure_lookups(case: Lookups, context: Context) -> List[Row]:
    small = open_filled(context, "lookups-small", SMALL_POOL)
    small_bytes = small.ask("memory")["resident_bytes"]
    full = open_filled(context, "lookups", case.keys)
    per_key = (full.ask("memory")["resident_bytes"] - small_bytes) / (case.keys - SMALL_POOL) - KEY_BYTES

    commands = {
        "contains, stored": ("contains", {"hits": 1}),
        "contains, not stored": ("contains", {"hits": 0}),
        f"prefix of {CHAIN} keys": ("prefix", {"chain": CHAIN}),
    }
    samples = {operation: Samples() for operation in commands}
    for number in range(context.rounds):
        for operation, (command, fields) in commands.items():
            answer = full.ask(command, count=case.keys // (4 if context.quick else 1), seed=number, **fields)
            samples[operation].values.append(answer["lookups"] / answer["seconds"] / 1e6)
    context.engines.discard(OURS)
    rows = [Row(case.title, name, "M/s", values, target=case.lookups_per_s) for name, values in samples.items()]
    index = Row(case.title, "index, beside the key", "B/key", Samples([per_key]), target=case.index_bytes_per_key)
    return [*rows, index]
