"""The four L2 adapters that the demo compares, as LMCache takes them on its command line.

Two are nixl-store's: the connector that LMCache wraps itself (`native_plugin`) and the adapter that speaks LMCache's
interface directly (`plugin`). Two are LMCache's own: `fs_native`, a file for each chunk, written in C++, and
`nixl_store`, a pool of files on NIXL. The last has nothing to do with this project but its name.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from typing import Callable, Dict, List

import nixl_name

MIB = 1024 * 1024
# Where nixl-store's two adapters are.
MODULE = "nixl_store.lmcache"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an adapter keeps its files, and what it has to hold there."""

    folder: str
    """A directory of this adapter's own."""

    direct: bool
    """Whether files are opened with O_DIRECT: on a disk yes, on tmpfs, which is memory already, no."""

    keys: int
    """Chunks that are stored."""

    chunk_bytes: int
    """Bytes of a chunk."""

    spare: int = 0
    """Chunks that a pool has room for beside those."""

    @property
    def slots(self) -> int:
        """Chunks that have to fit."""
        return self.keys + self.spare


@dataclasses.dataclass(frozen=True)
class Adapter:
    """One of the four."""

    name: str
    """For people."""

    short: tuple
    """The name in two lines, for the head of a narrow column."""

    ours: bool
    """Whether it is nixl-store's."""

    align_bytes: int
    """The alignment of LMCache's memory with which it is fastest (`--l1-align-bytes`)."""

    spec_of: Callable[[Place], Dict[str, object]]
    """The JSON of `--l2-adapter` for a place."""

    def spec(self, place: Place) -> str:
        """What stands behind `--l2-adapter`."""
        return json.dumps(self.spec_of(place))


def _settings(place: Place) -> Dict[str, object]:
    """nixl-store's settings: those of LMCache's YAML file, inline."""
    return {
        "nixl_backend": "POSIX",
        "nixl_path": place.folder,
        "nixl_pool_size": place.slots,
        "nixl_store_chunk_bytes": place.chunk_bytes,
        "use_direct_io": place.direct,
    }


def _native_plugin(place: Place) -> Dict[str, object]:
    return {
        "type": "native_plugin",
        "module_path": MODULE,
        "class_name": "Connector",
        "adapter_params": _settings(place),
    }


def _plugin(place: Place) -> Dict[str, object]:
    return {
        "type": "plugin",
        "module_path": MODULE,
        "class_name": "Adapter",
        "adapter_params": _settings(place),
    }


def _fs_native(place: Place) -> Dict[str, object]:
    return {
        "type": "fs_native",
        "base_path": place.folder,
        # Four is its own default, and was as good as any number on two processors.
        "num_workers": min(max(4, os.cpu_count() or 1), 16),
        "use_odirect": place.direct,
    }


def _nixl_store(place: Place) -> Dict[str, object]:
    # NIXL wants its parameters as text. Each file of the pool is one page of LMCache's memory, which is one chunk where
    # that memory is aligned to the size of a chunk; see align_bytes below.
    parameters = {"file_path": place.folder, "use_direct_io": "true" if place.direct else "false"}
    if place.direct:
        # On a disk it is faster through io_uring, on tmpfs as it comes.
        parameters["use_uring"] = "true"
    return {"type": "nixl_store", "backend": "POSIX", "backend_params": parameters, "pool_size": place.slots}


NATIVE_PLUGIN = Adapter("nixl-store, native_plugin", ("nixl-store", "native_plugin"), True, 4096, _native_plugin)
PLUGIN = Adapter("nixl-store, plugin", ("nixl-store", "plugin"), True, 4096, _plugin)
FS_NATIVE = Adapter("LMCache's fs_native", ("LMCache's", "fs_native"), False, 4096, _fs_native)
# It moves memory in pages of the alignment: with 4096 a chunk of 1 MiB is 256 transfers.
NIXL_STORE = Adapter("LMCache's nixl_store", ("LMCache's", "nixl_store"), False, MIB, _nixl_store)

ALL: List[Adapter] = [NATIVE_PLUGIN, PLUGIN, FS_NATIVE, NIXL_STORE]


def load() -> None:
    """Imports LMCache and these adapters, which takes seconds, so that processes forked from this one have them.

    Left to itself LMCache would import its adapters one after the other until it has the one that is asked for.
    """
    nixl_name.provide()
    importlib.import_module("lmcache.cli.commands.bench.l2_adapter_bench.command")
    for kind in ("native_plugin", "plugin", "fs_native", "nixl_store"):
        importlib.import_module(f"lmcache.v1.distributed.l2_adapters.{kind}_l2_adapter")
    if any(adapter.ours for adapter in chosen()):
        importlib.import_module(MODULE)


def chosen() -> List[Adapter]:
    """All four, or those whose names contain one of the words of DEMO_ADAPTERS, which are separated by commas."""
    words = [word for word in os.environ.get("DEMO_ADAPTERS", "").split(",") if word]
    return [adapter for adapter in ALL if not words or any(word in adapter.name for word in words)]
