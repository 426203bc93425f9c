"""LMCache itself and this library read each other's chunks in one bucket.

    lmcache_bucket.py LIBRARY < server.json

LIBRARY is libnixl_store.so; standard input is the line of scripts/s3_server.py that says where a server is. Runs with the
Python of `make bench-peers`, which has LMCache and NIXL. Every byte is compared; the first that is wrong ends it.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "benches"))

import numpy
from lmcache_worker import Session, fill

OBJECTS = 16
SEED = 7
# The second is cut into parts by this library; NIXL asks for it in one.
OBJECT_BYTES = (1 << 20, 16 << 20)
PART_BYTES_MIN = 8 << 20
NOT_FOUND = 1


class BucketSession(Session):
    """LMCache's NIXL backend on a bucket, an object for each key."""

    def __init__(self, server: Dict[str, Any], object_bytes: int) -> None:
        self.server = server
        fields = {"object_bytes": str(object_bytes), "live_objects": "0", "memory_objects": str(2 * OBJECTS)}
        super().__init__({**fields, "mode": "dynamic"})

    def storage(self, fields: Dict[str, str]) -> Dict[str, Any]:
        parameters = {
            "bucket": self.server["bucket"],
            "endpoint_override": self.server["endpoint"],
            "access_key": self.server["access_key"],
            "secret_key": self.server["secret_key"],
            "region": "us-east-1",
            "scheme": "http",
            "use_virtual_addressing": "false",
        }
        return {
            "enable_nixl_storage": True,
            "nixl_backend": "OBJ",
            "nixl_pool_size": 0,
            "nixl_backend_params": parameters,
        }


class Store:
    """This library, through its C API, on the same bucket."""

    def __init__(self, library: str, server: Dict[str, Any]) -> None:
        self.library = ctypes.CDLL(library)
        self.library.nixl_store_error_message.restype = ctypes.c_char_p
        config = f"""\
chunk_size: 256
nixl_buffer_device: cpu
extra_config:
  enable_nixl_storage: true
  nixl_backend: OBJ
  nixl_pool_size: 0
  nixl_store_layout: lmcache
  nixl_store_serve_unverified: true
  nixl_backend_params:
    bucket: "{server['bucket']}"
    endpoint_override: "{server['endpoint']}"
    access_key: "{server['access_key']}"
    secret_key: "{server['secret_key']}"
    crtMinLimit: "{PART_BYTES_MIN}"
"""
        # For its owner alone: it has the keys.
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(config)
            file.flush()
            self.store = ctypes.c_void_p()
            self.call("open", file.name.encode(), None, ctypes.byref(self.store))

    def call(self, name: str, *arguments: Any, allowed: int = 0) -> int:
        status = getattr(self.library, f"nixl_store_{name}")(*arguments)
        if status not in (0, allowed):
            message = self.library.nixl_store_error_message()
            raise RuntimeError(f"nixl_store_{name}: {message.decode(errors='replace')}")
        return status

    def put(self, key: str, pages: numpy.ndarray) -> None:
        name, data = key.encode(), pages.tobytes()
        self.call("put", self.store, name, ctypes.c_size_t(len(name)), data, ctypes.c_size_t(len(data)))

    def get(self, key: str, pages: numpy.ndarray) -> bool:
        name, length = key.encode(), ctypes.c_size_t()
        target = ctypes.c_void_p(pages.ctypes.data)
        status = self.call(
            "get", self.store, name, ctypes.c_size_t(len(name)), target, ctypes.c_size_t(pages.nbytes),
            ctypes.byref(length), allowed=NOT_FOUND,
        )
        return status == 0 and length.value == pages.nbytes

    def close(self) -> None:
        self.call("close", self.store)


def exchange(session: BucketSession, store: Store, object_bytes: int) -> None:
    """Chunks that LMCache put are read by this library, and the other way round."""
    pages = numpy.empty_like(session.source)
    _, theirs = session.put_one_batch(OBJECTS, SEED)
    for identity in theirs:
        fill(session.expected, session.source, identity, SEED)
        pages.fill(-1)
        found = store.get(session.key(identity).to_string(), pages)
        if not found or not numpy.array_equal(pages, session.expected):
            raise RuntimeError(f"LMCache's chunk {identity} of {object_bytes} bytes: " + ("WRONG BYTES" if found else "not found"))
    ours = list(range(session.next_id, session.next_id + OBJECTS))
    for identity in ours:
        fill(pages, session.source, identity, SEED)
        session.seeds[identity] = SEED
        store.put(session.key(identity).to_string(), pages)
    session.poison()
    missing: List[int] = [identity for identity in ours if not session.backend.contains(session.key(identity))]
    if missing:
        raise RuntimeError(f"LMCache does not find our chunks {missing}")
    _, objects = session.get_batch(ours)
    session.check(ours, objects, "LMCache reading our chunk")
    session.free(objects)
    absent = session.key(1 << 40)
    if session.backend.contains(absent) or store.get(absent.to_string(), pages):
        raise RuntimeError("a chunk that nobody put is found")
    print(f"{OBJECTS} chunks of {object_bytes >> 20} MiB each way: every byte right", flush=True)


def main() -> None:
    server = json.loads(sys.stdin.readline())
    for object_bytes in OBJECT_BYTES:
        session = BucketSession(server, object_bytes)
        store = Store(sys.argv[1], server)
        exchange(session, store, object_bytes)
        store.close()
        session.close()
    # NIXL's threads do not end by themselves.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
