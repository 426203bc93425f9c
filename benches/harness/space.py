"""Scratch directories: enough room before, nothing left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Dict, Iterable

from cases import DISK, GIB, MEMORY_SERVER, TMPFS, Case, Latency, Lookups, ObjectStore, Opening, Throughput
from harness.options import Options

# A slot of one page has a trailer of one page.
SMALL_SLOT_BYTES = 8192
# Pools, slot files and fio's file of one case, in batches: ours 2, NIXL 1 and 1, LMCache 2, fio 1, bare calls 1.
STATIC_BATCHES = 8
# Ours and LMCache's, each as many files as a round makes.
DYNAMIC_BATCHES = 8
# Of a round on an S3 server: each of three engines puts twice, and a server that appends keeps what was replaced.
S3_BATCHES_A_ROUND = 6
SPARE_BYTES = GIB // 2
# What a directory of the stand-in for 3FS needs to pass for a mount. Links to shared memory are in it.
IOVS = Path("3fs-virt") / "iovs"
IOV_PREFIX = "hf3fs-iov-"


class SpaceError(RuntimeError):
    """The file system has too little room."""


def remove_tree(path: Path) -> None:
    """A directory with all in it, and the memory that a client of 3FS which was killed has left in /dev/shm."""
    for link in path.rglob(f"{IOVS}/*"):
        target = Path(os.readlink(link)) if link.is_symlink() else link
        if target.name.startswith(IOV_PREFIX):
            target.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


class Scratch:
    """A directory of its own in each place."""

    def __init__(self, parents: Dict[str, Path]) -> None:
        self.places: Dict[str, Path] = {}
        for place, parent in parents.items():
            parent.mkdir(parents=True, exist_ok=True)
            self.places[place] = Path(tempfile.mkdtemp(prefix="nixl-store-bench-", dir=parent))

    def clear(self) -> None:
        """Between two cases."""
        for path in self.places.values():
            for entry in path.iterdir():
                remove_tree(entry)

    def remove(self) -> None:
        for path in self.places.values():
            remove_tree(path)


def needed_bytes(case: Case, rounds: int) -> Dict[str, int]:
    """What a case writes in each place, rounded up."""
    if isinstance(case, Throughput):
        return {case.place: case.batch_bytes * (DYNAMIC_BATCHES if case.dynamic else STATIC_BATCHES)}
    if isinstance(case, ObjectStore):
        kept = case.server != MEMORY_SERVER
        return {case.place: case.batch_bytes * S3_BATCHES_A_ROUND * rounds if kept else 0}
    if isinstance(case, Latency):
        return {case.place: case.object_bytes * 1024}
    if isinstance(case, Lookups):
        return {DISK: case.keys * SMALL_SLOT_BYTES}
    if isinstance(case, Opening):
        return {DISK: max(case.slots) * SMALL_SLOT_BYTES}
    return {}


def check_space(options: Options, cases: Iterable[Case]) -> None:
    """Refuses before anything is written."""
    needed = {DISK: 0, TMPFS: 0}
    for case in cases:
        for place, count in needed_bytes(case, options.rounds).items():
            needed[place] = max(needed[place], count)
    for place, path, variable in ((DISK, options.disk, "BENCH_DIR"), (TMPFS, options.tmpfs, "BENCH_TMPFS")):
        if needed[place] == 0:
            continue
        existing = next(parent for parent in (path, *path.parents) if parent.is_dir())
        about = os.statvfs(existing)
        free = about.f_bavail * about.f_frsize
        if free < needed[place] + SPARE_BYTES:
            raise SpaceError(
                f"{path} has {free / GIB:.1f} GiB free, and {(needed[place] + SPARE_BYTES) / GIB:.1f} GiB are needed; "
                f"set {variable} to a directory with more room, or fewer cases in BENCH_CASES"
            )
