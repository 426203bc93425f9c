"""The environment variables that steer a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Tuple

ROUNDS = 7
ROUNDS_QUICK = 3


class OptionError(ValueError):
    """A variable that cannot be used; the message says what is allowed."""


@dataclass(frozen=True)
class Options:
    disk: Path
    tmpfs: Path
    rounds: int
    names: Tuple[str, ...]
    quick: bool
    peers: Path


def read_options(environment: Mapping[str, str], root: Path) -> Options:
    """Defaults where a variable is not set or empty."""

    def text(name: str, otherwise: str) -> str:
        return environment.get(name, "") or otherwise

    quick = text("BENCH_QUICK", "0") not in ("0", "no", "false")
    rounds_text = text("BENCH_ROUNDS", str(ROUNDS_QUICK if quick else ROUNDS))
    if not rounds_text.isdigit() or not 1 <= int(rounds_text) <= 1000:
        raise OptionError(f"BENCH_ROUNDS is \"{rounds_text}\"; allowed: a whole number from 1 to 1000")
    disk = Path(text("BENCH_DIR", str(root / "build" / "bench" / "data"))).absolute()
    tmpfs = Path(text("BENCH_TMPFS", "/dev/shm")).absolute()
    for name, path in (("BENCH_DIR", disk), ("BENCH_TMPFS", tmpfs)):
        # The store's configuration separates directories by commas, fio by colons, the workers' fields by tabs.
        if any(sign in str(path) for sign in ",:\t\n\""):
            raise OptionError(f"{name} is \"{path}\"; allowed: a path without commas, colons, tabs and quotes")
    if not tmpfs.is_dir():
        raise OptionError(f"BENCH_TMPFS is \"{tmpfs}\", which is no directory; set it to one on a tmpfs")
    names = tuple(name.strip() for name in text("BENCH_CASES", "").split(",") if name.strip())
    peers = Path(text("BENCH_PEERS", str(root / "build" / "peers"))).absolute()
    return Options(disk, tmpfs, int(rounds_text), names, quick, peers)
