"""fio as a peer: its best setting is searched once, then it takes its turn in every round."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

RUNTIME_MS = 600
SWEEP_RUNTIME_MS = 500
DEPTHS = (4, 16, 32, 64)
BLOCK_BYTES = (256 << 10, 1 << 20)
# Its buffers on huge pages, as the memory of all the engines; see worker/memory.h.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# fio's own way to be fast; an ordinary user may not be allowed to register that much memory.
REGISTERED = ("--fixedbufs=1", "--registerfiles=1")


class FioError(RuntimeError):
    """fio failed; the message has its own words."""


@dataclass(frozen=True)
class Setting:
    depth: int
    block_bytes: int
    registered: bool = True

    def __str__(self) -> str:
        return f"bs {self.block_bytes >> 10} KiB, depth {self.depth}" + ("" if self.registered else ", not registered")


@dataclass(frozen=True)
class Measurement:
    moved_bytes: int
    bytes_per_s: float


def available() -> Optional[str]:
    return shutil.which("fio")


def version() -> str:
    return subprocess.run(["fio", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def parse(output: str, operation: str) -> Measurement:
    """From fio's JSON, which may have lines of text before it."""
    job: Dict[str, Any] = json.loads(output[output.index("{"):])["jobs"][0]
    if job["error"]:
        raise FioError(f"fio: error {job['error']} in a {operation}")
    moved = job[operation]
    if moved["io_bytes"] == 0 or moved["runtime"] == 0:
        raise FioError(f"fio: nothing was moved in a {operation}")
    return Measurement(moved["io_bytes"], moved["io_bytes"] * 1e3 / moved["runtime"])


def children_cpu_s() -> float:
    """CPU time of all processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Fio:
    """Reads or writes some files from begin to end and again, for a fixed time."""

    # CPU seconds of a run that moves next to nothing, for each operation and setting: the same for all files.
    _startup_cpu_s: Dict[Tuple[str, Setting], float] = {}

    def __init__(self, files: Sequence[Path], file_bytes: int) -> None:
        self._names = ":".join(str(file).replace(":", "\\:") for file in files)
        self._size_bytes = file_bytes * len(files)

    def fill(self, block_bytes: int) -> None:
        """Writes all of it once: the first write into reserved space costs the file system more than a later one."""
        self._execute("write", Setting(16, block_bytes, registered=False), ())

    def run_with_cpu(self, operation: str, setting: Setting) -> "Tuple[Measurement, float]":
        """Also CPU seconds per 10^9 bytes. fio's own figure leaves out the kernel's workers for io_uring, which do the
        copying on tmpfs, so the whole process is taken, less what its start costs."""
        key = (operation, setting)
        if key not in self._startup_cpu_s:
            before_s = children_cpu_s()
            self.run(operation, setting, runtime_ms=1)
            self._startup_cpu_s[key] = children_cpu_s() - before_s
        before_s = children_cpu_s()
        measurement = self.run(operation, setting)
        cpu_s = max(0.0, children_cpu_s() - before_s - self._startup_cpu_s[key])
        return measurement, cpu_s / measurement.moved_bytes * 1e9

    def run(self, operation: str, setting: Setting, runtime_ms: int = RUNTIME_MS) -> Measurement:
        return parse(self._execute(operation, setting, ("--time_based=1", f"--runtime={runtime_ms}ms")), operation)

    def _execute(self, operation: str, setting: Setting, more: Sequence[str]) -> str:
        command = [
            "fio", "--name=bench", f"--filename={self._names}", f"--rw={operation}", f"--bs={setting.block_bytes}",
            f"--iodepth={setting.depth}", f"--size={self._size_bytes}", "--ioengine=io_uring", "--direct=1",
            "--nonvectored=1", "--scramble_buffers=0", "--fallocate=none", "--output-format=json", *more,
            *(REGISTERED if setting.registered else ()), *(("--readonly",) if operation == "read" else ()),
        ]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, **HUGE_PAGES},
        )
        if done.returncode != 0:
            raise FioError(f"fio: {(done.stderr or done.stdout).strip()[-400:]}")
        return done.stdout

    def best(self, operation: str, object_bytes: int) -> Setting:
        """Tries depths and block sizes; blocks are at most an object, for objects lie apart from each other."""
        blocks = sorted({size for size in (*BLOCK_BYTES, object_bytes) if size <= min(object_bytes, 1 << 20)})
        settings: List[Setting] = [Setting(depth, block) for block in blocks for depth in DEPTHS]
        try:
            self.run(operation, settings[0], SWEEP_RUNTIME_MS)
        except FioError:
            settings = [Setting(one.depth, one.block_bytes, registered=False) for one in settings]
        return max(settings, key=lambda one: self.run(operation, one, SWEEP_RUNTIME_MS).bytes_per_s)
