"""The engines by name: how each worker is started and what it is told to open."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

from cases import CALLERS, ENGINES
from harness.peers import Peers
from harness.servers import Endpoint
from harness.space import IOVS
from harness.workers import Worker, WorkerPool

OURS = "ours"

BUFFER_BYTES = 128 << 20

STORE_CONFIG = """\
chunk_size: 256
nixl_buffer_size: {buffer_bytes}
nixl_buffer_device: cpu
cache_policy: FIFO
extra_config:
  enable_nixl_storage: true
  nixl_backend: {backend}
  nixl_pool_size: {slots}
  use_direct_io: true
  nixl_path:
    - "{directory}"
"""

# What HF3FS needs beside that. As many I/O threads as bare USRBIO has.
HF3FS_CONFIG = """\
  nixl_store_hf3fs_library: "{library}"
  nixl_store_io_threads: {lanes}
  nixl_backend_params:
    mount_point: "{mount}"
"""


S3_CONFIG = """\
chunk_size: 256
nixl_buffer_size: 134217728
nixl_buffer_device: cpu
extra_config:
  enable_nixl_storage: true
  nixl_backend: OBJ
  nixl_pool_size: 0
  nixl_store_prefix: "ours/"
  nixl_backend_params:
{parameters}
"""


@dataclass(frozen=True)
class Shape:
    """What a worker has to hold, in objects."""

    object_bytes: int
    live_objects: int
    memory_objects: int
    dynamic: bool = False

    @property
    def slots(self) -> int:
        """A batch more than is read: gets never race with an eviction, and every put finds a pool that is full."""
        return 0 if self.dynamic else self.live_objects + self.memory_objects

    def fields(self) -> Dict[str, int]:
        return {
            "object_bytes": self.object_bytes,
            "live_objects": self.live_objects,
            "memory_objects": self.memory_objects,
        }


def hf3fs_lanes() -> int:
    """I/O threads that the store has with HF3FS by itself."""
    return min(max(len(os.sched_getaffinity(0)) // 2, 2), 8)


class Engines:
    """Opens engines below a directory; a worker serves one session at a time and is kept for the next."""

    def __init__(self, binary: Path, lmcache_worker: Path, peers: Peers, workers: WorkerPool) -> None:
        self._binary = binary
        self._lmcache_worker = lmcache_worker
        self._peers = peers
        self._workers = workers

    def missing(self, name: str) -> Optional[str]:
        """Why an engine is not there."""
        if name == "fio":
            return self._peers.fio_missing
        if name.startswith("nixl-gds"):
            return self._peers.nixl_gds_missing
        if name.startswith("nixl"):
            return self._peers.nixl_missing
        if name == "lmcache":
            return self._peers.lmcache_missing
        return None

    def missing_for(self, backend: str) -> Optional[str]:
        """Why ours cannot be opened with a backend."""
        return self._peers.cufile_missing if backend.startswith("GDS") else None

    def open(
        self, name: str, directory: Path, shape: Shape, backend: str = "POSIX", memory: str = CALLERS, **more: Any
    ) -> "Session":
        """With HF3FS the directory above passes for a mount, for all engines of a case."""
        directory.mkdir(parents=True, exist_ok=True)
        if name == OURS:
            worker = self._workers.get(name, [str(self._binary), "store"], self._environment(backend, directory))
            config = directory / "lmcache.yaml"
            config.write_text(self._store_config(directory, shape, backend, memory), encoding="utf-8")
            (directory / "store").mkdir(exist_ok=True)
            facts = worker.ask("open", config=config, memory=memory, **shape.fields())
        elif name == "usrbio":
            worker = self._workers.get(name, [str(self._binary), "usrbio"], self._environment(backend, directory))
            facts = worker.ask(
                "open", directory=directory, library=self._standin_hf3fs, mount=directory.parent, lanes=hf3fs_lanes(),
                memory=ENGINES, **shape.fields(),
            )
        elif name in ("pread", "pwrite"):
            worker = self._workers.get(name, [str(self._binary), "pread"])
            where = {} if "paths" in more else {"directory": directory}
            facts = worker.ask("open", **where, **more, **shape.fields())
        elif name == "lmcache":
            command = [str(self._peers.python), str(self._lmcache_worker)]
            worker = self._workers.get(name, command, self._peers.environment)
            mode = "dynamic" if shape.dynamic else "static"
            facts = worker.ask("open", directory=directory, mode=mode, **shape.fields())
        elif name.startswith("nixl-gds"):
            worker = self._workers.get(name, [str(self._binary), "nixl"], self._cufile_environment())
            facts = worker.ask(
                "open", directory=directory, library=self._peers.nixl_library, plugin=backend, files="slot",
                **shape.fields(),
            )
        else:
            worker = self._workers.get(name, [str(self._binary), "nixl"], self._peers.environment)
            queue = {"nixl-uring": "use_uring", "nixl-aio": "use_aio"}[name]
            # A file for each slot, as LMCache has it: on tmpfs and on ext4 at least as fast as one file with offsets.
            facts = worker.ask(
                "open", directory=directory, library=self._peers.nixl_library, queue=queue, files="slot",
                **shape.fields(),
            )
        return Session(worker, facts)

    def open_s3(self, name: str, directory: Path, endpoint: Endpoint, shape: Shape) -> "Session":
        """The same against an S3 server; `directory` holds our configuration and no data."""
        parameters = endpoint.parameters()
        if name == OURS:
            directory.mkdir(parents=True, exist_ok=True)
            config = directory / "lmcache.yaml"
            # For its owner alone: it has the keys.
            config.touch(mode=0o600)
            lines = "\n".join(f"    {key}: \"{value}\"" for key, value in parameters.items())
            config.write_text(S3_CONFIG.format(parameters=lines), encoding="utf-8")
            worker = self._workers.get(name, [str(self._binary), "store"])
            facts = worker.ask("open", config=config, **shape.fields())
        elif name == "sockets":
            worker = self._workers.get(name, [str(self._binary), "sockets"])
            facts = worker.ask("open", port=endpoint.port, bucket=endpoint.bucket, **shape.fields())
        else:
            # 1 lets the CRT client do everything.
            crt = {"crtMinLimit": "1"} if name == "nixl-crt" else {}
            worker = self._workers.get(name, [str(self._binary), "nixl-obj"], self._peers.environment)
            facts = worker.ask(
                "open", library=self._peers.nixl_library, prefix=name, **parameters, **endpoint.nixl_only, **crt,
                **shape.fields(),
            )
        return Session(worker, facts)

    def _store_config(self, directory: Path, shape: Shape, backend: str, memory: str) -> str:
        # What the engine allocates is a part of the buffer.
        allocated = shape.object_bytes * shape.memory_objects if memory == ENGINES else 0
        config = STORE_CONFIG.format(
            backend=backend, slots=shape.slots, directory=directory / "store", buffer_bytes=BUFFER_BYTES + allocated,
        )
        if backend == "HF3FS":
            config += HF3FS_CONFIG.format(library=self._standin_hf3fs, lanes=hf3fs_lanes(), mount=directory.parent)
        return config

    @property
    def _standin_hf3fs(self) -> Path:
        return self._binary.parent / "standin_hf3fs" / "libhf3fs_api_shared.so"

    def _environment(self, backend: str, directory: Path) -> Dict[str, str]:
        """Of a worker that opens a backend below a directory."""
        if backend.startswith("GDS"):
            return self._cufile_environment()
        if backend == "HF3FS":
            (directory.parent / IOVS).mkdir(parents=True, exist_ok=True)
            return {"STANDIN_HF3FS_MOUNT": str(directory.parent)}
        return {}

    def _cufile_environment(self) -> Dict[str, str]:
        return self._peers.cufile_environment(
            self._binary.parent / "cufile_env.so", self._binary.parent.parent / "cufile.log",
        )

    def discard(self, name: str) -> None:
        """For a worker that failed: the next session gets a fresh one."""
        self._workers.discard(name)


@dataclass
class Session:
    """An engine that is open."""

    worker: Worker
    facts: Dict[str, Any]

    def ask(self, command: str, **fields: Any) -> Dict[str, Any]:
        return self.worker.ask(command, **fields)

    def close(self) -> None:
        self.worker.ask("close")
