"""The size of the library and of what it drags in, and how long loading it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from cases import Library
from harness.context import Context
from harness.rows import Row, Samples
from harness.workers import WorkerError


def load(program: Path, library: Path, environment: Dict[str, str]) -> "Tuple[float, List[Path]]":
    """Milliseconds, and all shared objects that came with it."""
    done = subprocess.run(
        [str(program), str(library)], env={**os.environ, **environment}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, check=False,
    )
    if done.returncode != 0:
        raise WorkerError(done.stderr.strip())
    lines = done.stdout.splitlines()
    return float(lines[0]) * 1e3, [Path(line) for line in lines[1:]]


def stripped_bytes(library: Path, scratch: Path) -> int:
    """As it would be shipped."""
    copy = scratch / "stripped.so"
    shutil.copyfile(library, copy)
    subprocess.run(["strip", "--strip-unneeded", str(copy)], check=True)
    return copy.stat().st_size


def measure_library(case: Library, context: Context) -> List[Row]:
    ours = context.binaries / "libnixl_store.so.0"
    program = context.binaries / "load_time"
    peer_path: Optional[Path] = context.peers.nixl_library
    times, peer_times = Samples(), Samples()
    objects: List[Path] = []
    peer_objects: List[Path] = []
    # The first load of each comes from the disk and is not counted.
    for number in range(context.rounds + 1):
        milliseconds, objects = load(program, ours, {})
        peer_milliseconds = 0.0
        if peer_path is not None:
            peer_milliseconds, peer_objects = load(program, peer_path, context.peers.environment)
        if number > 0:
            times.values.append(milliseconds)
            peer_times.values.append(peer_milliseconds)

    size = stripped_bytes(ours, context.directory("disk", "library")) / 1e6
    peer_size = sum(path.stat().st_size for path in peer_objects) / 1e6
    values = (
        ("stripped; peer: all its objects", "MB", Samples([size]), Samples([peer_size]), case.stripped_mb),
        ("dlopen", "ms", times, peer_times, case.load_ms),
        ("objects loaded", "", Samples([float(len(objects))]), Samples([float(len(peer_objects))]), None),
    )
    rows: List[Row] = []
    for operation, unit, mine, other, target in values:
        row = Row(case.title, operation, unit, mine, "NIXL", target=target)
        row.peer = other if peer_path is not None else None
        row.bounds_ours = True
        row.note = "" if peer_path is not None or target is not None else context.peers.nixl_missing or ""
        rows.append(row)
    return rows
