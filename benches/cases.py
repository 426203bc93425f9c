"""What is measured: sizes, peers and targets. How is in bench.py and in harness/.

Targets are ratios of ours to the peer (throughput: at least, latency: at most), or bounds on the value itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Tuple, Union

from harness.stats import Target

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

DISK = "disk"
TMPFS = "tmpfs"

MEMORY_SERVER = "memory"
SEAWEEDFS = "seaweedfs"
JUICEFS = "juicefs"

POSIX = "POSIX"

# Whose memory the objects lie in: the worker's, or what the engine gives for it.
CALLERS = "caller"
ENGINES = "engine"

Peers = Dict[str, "Target | None"]


def at_least(bound: float) -> Target:
    return Target(bound)


def at_most(bound: float) -> Target:
    return Target(bound, at_least=False)


@dataclass(frozen=True)
class Throughput:
    """Batches of puts, then of gets, in turns with the peers."""

    name: str
    title: str
    place: str
    object_bytes: int
    batch: int
    peers: Peers
    dynamic: bool = False
    threads: int = 1
    backend: str = POSIX
    memory: str = CALLERS
    # For the picture: fewer rounds, because its points are many.
    is_point: bool = False

    @property
    def batch_bytes(self) -> int:
        return self.object_bytes * self.batch * self.threads


@dataclass(frozen=True)
class Asked:
    """What is asked of one operation against an S3 server: throughput and processor time beside `peer`, processor time
    beside bare sockets."""

    throughput: Target
    cpu: Optional[Target] = None
    cpu_of_sockets: Optional[Target] = None
    peer: Optional[str] = None  # None: the better of NIXL's clients


@dataclass(frozen=True)
class ObjectStore:
    """Batches of puts, then of gets, on an S3 server that the case starts, in turns with the peers."""

    name: str
    title: str
    server: str
    object_bytes: int
    batch: int
    peers: Tuple[str, ...]
    targets: Dict[str, Asked]
    place: str = DISK

    @property
    def batch_bytes(self) -> int:
        return self.object_bytes * self.batch


@dataclass(frozen=True)
class Latency:
    """Single gets and puts, one after the other; the bare pread reads the files that our store wrote."""

    name: str
    title: str
    place: str
    object_bytes: int
    peers: Peers
    count: int = 150
    backend: str = POSIX
    memory: str = CALLERS


@dataclass(frozen=True)
class Lookups:
    """Key lookups in a full pool of that many slots, and the memory that its index takes."""

    name: str
    title: str
    keys: int
    lookups_per_s: Target
    index_bytes_per_key: Target


@dataclass(frozen=True)
class Opening:
    """Opening a pool after a clean close and after kill -9."""

    name: str
    title: str
    slots: Tuple[int, ...]
    closed_ms: Target
    killed_ms: Target


@dataclass(frozen=True)
class Library:
    """The shared library as a file, and what loading it takes."""

    name: str
    title: str
    stripped_mb: Target
    load_ms: Target


Case = Union[Throughput, ObjectStore, Latency, Lookups, Opening, Library]

NIXL: Peers = {"nixl-uring": None, "nixl-aio": None}
ALL: Peers = {"fio": None, **NIXL, "lmcache": None}
FILES: Peers = {"nixl-uring": at_least(1.2), "nixl-aio": at_least(1.2), "pread": None}

# The picture: a fixed amount of bytes in objects of different size.
POINT_BYTES = 128 * MIB
POINT_SIZES = (64 * KIB, 256 * KIB, 1 * MIB, 4 * MIB, 16 * MIB, 32 * MIB)


def size_name(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


# Bytes of a batch on each server: enough for eight transfers at a time, and little enough for what the server can do.
S3_BATCH_BYTES = {MEMORY_SERVER: 128 * MIB, SEAWEEDFS: 64 * MIB, JUICEFS: 64 * MIB}
S3_SMALL_BATCH_BYTES = 16 * MIB
S3_SIZES = (64 * KIB, 1 * MIB, 4 * MIB, 32 * MIB)
# JuiceFS's gateway cannot be read from by NIXL's CRT client. Bare sockets sign nothing, which a real server refuses.
S3_PEERS = {
    MEMORY_SERVER: ("nixl", "nixl-crt", "sockets"), SEAWEEDFS: ("nixl", "nixl-crt"), JUICEFS: ("nixl",),
}
S3_TITLES = {MEMORY_SERVER: "S3 in memory", SEAWEEDFS: "S3, SeaweedFS", JUICEFS: "S3, JuiceFS gateway"}
OF_SOCKETS = at_most(1.3)
S3_ASKED: Dict[Tuple[str, int], Dict[str, Asked]] = {
    (MEMORY_SERVER, 1 * MIB): {
        "put": Asked(at_least(4), at_most(0.25), OF_SOCKETS), "get": Asked(at_least(3), at_most(0.4), OF_SOCKETS),
    },
    (MEMORY_SERVER, 32 * MIB): {
        "put": Asked(at_least(2), at_most(0.3), OF_SOCKETS), "get": Asked(at_least(2), at_most(0.45), OF_SOCKETS),
    },
    # Of NIXL as it comes: its CRT client has to be asked for.
    (SEAWEEDFS, 1 * MIB): {"put": Asked(at_least(2), peer="nixl"), "get": Asked(at_least(2.5), peer="nixl")},
    (SEAWEEDFS, 32 * MIB): {"put": Asked(at_least(1), peer="nixl"), "get": Asked(at_least(1.2), peer="nixl")},
}


def _object_store(server: str, size: int) -> ObjectStore:
    wanted = S3_SMALL_BATCH_BYTES if size < MIB else S3_BATCH_BYTES[server]
    batch = max(wanted // size, 8 if server == MEMORY_SERVER else 4)
    short = f"{size // MIB}m" if size >= MIB else f"{size // KIB}k"
    return ObjectStore(
        f"s3-{server}-{short}", f"{S3_TITLES[server]}, {batch} x {size_name(size)}", server, size, batch,
        S3_PEERS[server], S3_ASKED.get((server, size), {}),
    )


def _object_stores() -> Tuple[Case, ...]:
    return tuple(_object_store(server, size) for server in S3_PEERS for size in S3_SIZES)


def _through_cufile() -> Tuple[Case, ...]:
    """Host memory through cuFile, in compatibility mode where there is no GPU, beside NIXL's plugin of the same name."""
    return tuple(
        Throughput(
            f"{peer}-{size // MIB}m", f"{backend}, disk, static, {batch} x {size_name(size)}", DISK, size, batch,
            {f"nixl-{peer}": None, "fio": None}, backend=backend,
        )
        for backend, peer in (("GDS_MT", "gds-mt"), ("GDS", "gds"))
        for size, batch in ((32 * MIB, 16), (1 * MIB, 64))
    )


# Of bare USRBIO at the same depth.
OF_USRBIO = at_least(0.9)


def _through_usrbio() -> Tuple[Case, ...]:
    """3FS's rings, with a stand-in for its client and daemon over files on tmpfs: memory that the store allocated, which
    goes without a copy, and the engine's own."""
    kinds = (("hf3fs", ENGINES, "", OF_USRBIO), ("hf3fs-staged", CALLERS, "engine's memory, ", None))
    batches = tuple(
        Throughput(
            f"{name}-{size // MIB}m" if size >= MIB else f"{name}-{size // KIB}k",
            f"HF3FS, tmpfs, static, {words}{batch} x {size_name(size)}", TMPFS, size, batch, {"usrbio": target},
            backend="HF3FS", memory=memory,
        )
        for name, memory, words, target in kinds
        for size, batch in ((32 * MIB, 8), (1 * MIB, 64), (256 * KIB, 256))
    )
    single = Latency(
        "hf3fs-latency", "HF3FS, tmpfs, static, single 1 MiB", TMPFS, 1 * MIB, {"usrbio": None}, backend="HF3FS",
        memory=ENGINES,
    )
    return (*batches, single)


def _measured() -> Tuple[Case, ...]:
    return (
        Throughput(
            "disk-32m", "disk, static, 16 x 32 MiB", DISK, 32 * MIB, 16,
            {"fio": at_least(0.95), "nixl-uring": at_least(1.0), "nixl-aio": None, "lmcache": None},
        ),
        Throughput(
            "disk-256k", "disk, static, 256 x 256 KiB", DISK, 256 * KIB, 256,
            {"fio": at_least(0.95), "nixl-uring": at_least(1.2), "nixl-aio": at_least(1.2), "lmcache": None},
        ),
        Latency(
            "disk-latency", "disk, static, single 1 MiB", DISK, 1 * MIB,
            {"pread": at_most(1.15), **NIXL, "lmcache": None},
        ),
        Throughput(
            "disk-dynamic", "disk, dynamic, 256 x 1 MiB", DISK, 1 * MIB, 256, {"lmcache": at_least(2.0)}, dynamic=True,
        ),
        Throughput("tmpfs-64k", "tmpfs, static, 1024 x 64 KiB", TMPFS, 64 * KIB, 1024, FILES),
        Throughput("tmpfs-1m", "tmpfs, static, 128 x 1 MiB", TMPFS, 1 * MIB, 128, FILES),
        Throughput("tmpfs-4m", "tmpfs, static, 64 x 4 MiB", TMPFS, 4 * MIB, 64, FILES),
        Throughput("tmpfs-32m", "tmpfs, static, 8 x 32 MiB", TMPFS, 32 * MIB, 8, ALL),
        Throughput("tmpfs-256k", "tmpfs, static, 256 x 256 KiB", TMPFS, 256 * KIB, 256, ALL),
        Latency(
            "tmpfs-latency", "tmpfs, static, single 1 MiB", TMPFS, 1 * MIB,
            {"pread": None, **NIXL, "lmcache": None},
        ),
        Throughput(
            "tmpfs-dynamic", "tmpfs, dynamic, 256 x 1 MiB", TMPFS, 1 * MIB, 256, {"lmcache": None}, dynamic=True,
        ),
        *_through_cufile(),
        *_through_usrbio(),
        *_object_stores(),
        Lookups("lookups", "lookups, 1 M keys", 1_000_000, at_least(5.0), at_most(96)),
        Opening("open", "open a static pool", (1_000, 10_000, 100_000), at_most(1_000), at_most(10_000)),
        Library("library", "library", at_most(20.0), at_most(10.0)),
    )


def _points() -> Tuple[Case, ...]:
    by_size = tuple(
        Throughput(
            f"size-{place}-{size // KIB}k", f"by size, {place}, {size_name(size)}", place, size, POINT_BYTES // size,
            ALL, is_point=True,
        )
        for place in (DISK, TMPFS)
        for size in POINT_SIZES
    )
    by_batch = tuple(
        Throughput(f"batch-{batch}", f"by batch, tmpfs, {batch} x 1 MiB", TMPFS, 1 * MIB, batch, {}, is_point=True)
        for batch in (1, 4, 16, 64, 256)
    )
    by_threads = tuple(
        Throughput(
            f"threads-{threads}", f"by caller threads, tmpfs, {threads} x {64 // threads} x 1 MiB", TMPFS, 1 * MIB,
            64 // threads, {}, threads=threads, is_point=True,
        )
        for threads in (1, 2, 4, 8)
    )
    return by_size + by_batch + by_threads


CASES: Tuple[Case, ...] = _measured() + _points()
