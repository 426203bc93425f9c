"""Runs the replay program against a fresh store and returns what it measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from policies import Variant

# Room beside the payload, rounded up: a slot's trailer and padding, and a pool's own files.
_SLOT_OVERHEAD_BYTES = 8192
_POOL_OVERHEAD_BYTES = 64 << 20
_STAGING_BYTES = 64 << 20

Measured = dict[str, Any]


class RunError(Exception):
    """A replay could not be done, or found wrong bytes."""


@dataclass(frozen=True)
class Pool:
    """One store to replay through."""

    variant: Variant
    slots: int
    chunk_bytes: int
    in_memory: bool = False
    tier_slots: int = 0  # of the tier in front; 0: none

    def __str__(self) -> str:
        tier = f" behind a tier of {self.tier_slots:,} blocks" if self.tier_slots else ""
        return (f"{self.variant.name}, {self.slots:,} slots of {self.chunk_bytes:,} bytes"
                f"{' in memory' * self.in_memory}{tier}")

    def disk_bytes(self) -> int:
        return self.slots * (self.chunk_bytes + _SLOT_OVERHEAD_BYTES) + _POOL_OVERHEAD_BYTES

    def config(self, folder: Path) -> str:
        """The configuration file. JSON strings are YAML strings, whatever is in the folder's name."""
        quantile = self.variant.quantile
        # Where it is the default nothing is said, so that the exact check holds the library to its default too.
        setting = "" if quantile is None else f"  nixl_store_reuse_quantile: {quantile}\n"
        place = "" if self.in_memory else f"  use_direct_io: true\n  nixl_path: [{json.dumps(str(folder))}]\n"
        return (
            f"chunk_size: 512\nnixl_buffer_size: {_STAGING_BYTES}\nnixl_buffer_device: cpu\n"
            f"cache_policy: {self.variant.policy}\nextra_config:\n  enable_nixl_storage: true\n"
            f"  nixl_backend: {'MEMORY' if self.in_memory else 'POSIX'}\n  nixl_pool_size: {self.slots}\n"
            f"{setting}{place}"
        )


class Runner:
    """The replay program, a trace for it, and the folder where stores are made."""

    def __init__(self, program: Path, trace: Path, folder: Path) -> None:
        self._program = program
        self._trace = trace
        self._folder = folder

    def check_space(self, largest: Pool) -> None:
        """Refuses before the first replay what the last one would fail at."""
        if "," in str(self._folder):
            raise RunError(f"{self._folder}: nixl_path separates folders by commas; set BENCH_DIR to a plain name")
        free = shutil.disk_usage(self._folder).free
        needed = largest.disk_bytes()
        if needed > free:
            raise RunError(
                f"{self._folder} has {free >> 20} MiB free, but a pool of {largest.slots:,} slots of "
                f"{largest.chunk_bytes:,} bytes needs {needed >> 20} MiB; set BENCH_DIR to a folder with more room, "
                "or TRACE_CHUNK_BYTES to less"
            )

    def replay(self, pool: Pool, batch_max: Optional[int] = None) -> Measured:
        """Makes a store, replays the whole trace, removes the store."""
        folder = Path(tempfile.mkdtemp(prefix="store.", dir=self._folder))
        try:
            config = folder / "lmcache.yaml"
            config.write_text(pool.config(folder / "pool"), encoding="utf-8")
            (folder / "pool").mkdir()
            command = [str(self._program), "--trace", str(self._trace), "--config", str(config)]
            command += ["--block-bytes", str(pool.chunk_bytes)]
            if batch_max is not None:
                command += ["--batch-max", str(batch_max)]
            if pool.tier_slots:
                command += ["--tier-slots", str(pool.tier_slots)]
            # The environment wins over the file, and must not turn this store into another one.
            environment = {name: value for name, value in os.environ.items() if not name.startswith("LMCACHE_")}
            done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        try:
            measured = json.loads(done.stdout)
        except ValueError:
            raise RunError(f"{pool}: the replay failed, exit status {done.returncode}; see above") from None
        if done.returncode != 0:
            raise RunError(
                f"{pool}: WRONG: {measured['bytes_wrong']} wrong bytes in {measured['blocks_wrong']} blocks, "
                f"{measured['blocks_lost']} blocks lost, {measured['corruptions']} corruptions"
            )
        return measured
