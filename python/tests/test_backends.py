"""The same few promises on other backends than a pool on a disk, through what LMCache is given."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest
from typing import Any

from nixl_store.lmcache import Connector

from .common import KIB, StoreTest, payload
from .test_lmcache_connector import Driver

ROOT = pathlib.Path(__file__).parents[2]


class Backends(StoreTest):
    """POSIX with a file for each key, memory, a real S3 server, 3FS on a stand-in for its client library."""

    def serves(self, settings: dict[str, Any]) -> None:
        connector = Connector(**settings)
        self.addCleanup(connector.close)
        driver = Driver(connector)
        keys = [f"model@00000000@0@{index:064x}" for index in range(12)]
        objects = [payload(index, 100 * KIB) for index in range(12)]
        self.assertTrue(driver.set(keys[:10], objects[:10]))
        found = driver.end_of(connector.submit_batch_exists(keys))
        self.assertEqual(found, (True, "", [True] * 10 + [False] * 2))
        self.assertEqual(driver.get(keys, 100 * KIB), [*objects[:10], None, None])
        self.assertEqual(driver.get(keys[:1], 99 * KIB), [None])
        self.assertTrue(driver.set(keys[:1], [objects[11][: 99 * KIB]]))
        self.assertEqual(driver.get(keys[:1], 99 * KIB), [objects[11][: 99 * KIB]])
        gone = driver.end_of(connector.submit_batch_delete([keys[0], keys[11]]))[2]
        # S3 does not say whether what was deleted had been there.
        self.assertEqual(gone is not None and gone[0], True)
        self.assertEqual(driver.get(keys[:2], 100 * KIB), [None, objects[1]])

    def test_dynamic(self) -> None:
        self.serves({"nixl_backend": "POSIX", "nixl_path": self.folder, "nixl_pool_size": 0, "use_direct_io": True})

    def test_memory(self) -> None:
        self.serves({"nixl_backend": "MEMORY", "nixl_pool_size": 16, "nixl_store_chunk_bytes": 128 * KIB})

    def test_obj(self) -> None:
        weed = shutil.which("weed")
        if weed is None:
            self.skipTest("SeaweedFS (weed) is not installed; make setup installs it")
        command = [sys.executable, str(ROOT / "scripts" / "s3_server.py"), "seaweedfs", "--program", weed]
        with subprocess.Popen(
            [*command, "--directory", self.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as server:
            assert server.stdin is not None and server.stdout is not None
            try:
                where = json.loads(server.stdout.readline())
                params = {
                    "endpoint_override": where["endpoint"],
                    **{name: where[name] for name in ("bucket", "access_key", "secret_key")},
                }
                self.serves({"nixl_backend": "OBJ", "nixl_pool_size": 0, "nixl_backend_params": params})
            finally:
                # The server ends with its standard input.
                server.stdin.close()

    def test_hf3fs(self) -> None:
        if shutil.which("cc") is None:
            self.skipTest("no C compiler for the stand-in")
        library = pathlib.Path(self.folder, "library")
        subprocess.run([str(ROOT / "tests" / "standin_hf3fs" / "build.sh"), str(library)], check=True)
        mount = pathlib.Path(self.folder, "mount")
        (mount / "3fs-virt" / "iovs").mkdir(parents=True)
        os.environ["STANDIN_HF3FS_MOUNT"] = str(mount)
        self.addCleanup(os.environ.pop, "STANDIN_HF3FS_MOUNT")
        self.serves(
            {
                "nixl_backend": "HF3FS",
                "nixl_path": str(mount / "cache"),
                "nixl_pool_size": 16,
                "nixl_store_chunk_bytes": 128 * KIB,
                "nixl_store_hf3fs_library": str(library / "libhf3fs_api_shared.so"),
            }
        )


if __name__ == "__main__":
    unittest.main()
