"""What the tests share: stores in directories of their own, and payloads that tell which they are."""

import hashlib
import os
import select
import shutil
import tempfile
import unittest
from typing import Any

import nixl_store

KIB = 1024
MIB = 1024 * 1024


def payload(seed: int, length: int) -> bytes:
    """Bytes that no other seed and no other place has."""
    return hashlib.shake_128(seed.to_bytes(8, "little")).digest(length)


def wait_readable(descriptor: int, seconds: float = 30.0) -> None:
    """Waits until a descriptor is readable."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(seconds * 1000):
        raise AssertionError(f"descriptor {descriptor} did not become readable within {seconds} s")


class StoreTest(unittest.TestCase):
    """Opens stores on a real file system, and clears them away."""

    def setUp(self) -> None:
        # On the disk below the project, where O_DIRECT works; /tmp may be memory.
        parent = os.environ.get("NIXL_STORE_TEST_DIR") or None
        self.folder = tempfile.mkdtemp(prefix="nixl-store-python-", dir=parent)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def settings(self, **changes: Any) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "nixl_backend": "POSIX",
            "nixl_path": self.folder,
            "nixl_pool_size": 64,
            "nixl_store_chunk_bytes": 256 * KIB,
            "use_direct_io": True,
        }
        settings.update(changes)
        return settings

    def open(self, **changes: Any) -> nixl_store.Store:
        """A static pool of 64 slots of 256 KiB, unless settings say otherwise."""
        store = nixl_store.Store(settings=self.settings(**changes))
        self.addCleanup(store.close)
        return store

    def files(self) -> list[str]:
        """Every file below the store's directory."""
        found: list[str] = []
        for folder, _, names in os.walk(self.folder):
            found.extend(os.path.join(folder, name) for name in names)
        return found

    def flip_a_bit_of(self, content: bytes) -> None:
        """Changes one bit of the one file that holds these bytes, behind the store's back."""
        for name in self.files():
            with open(name, "r+b") as file:
                at = file.read().find(content)
                if at >= 0:
                    file.seek(at + len(content) // 2)
                    byte = file.read(1)[0]
                    file.seek(at + len(content) // 2)
                    file.write(bytes([byte ^ 4]))
                    return
        raise AssertionError("no file holds these bytes")
