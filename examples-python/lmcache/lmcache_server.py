"""`lmcache server` as a process, and what it says of itself over HTTP."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any, Dict, Optional

import processes

_START_SECONDS_MAX = 120.0
_STOP_SECONDS_MAX = 30.0


def free_port() -> int:
    """A TCP port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A running server; use it in a `with` statement, which stops it."""

    def __init__(self, l2_adapter: str, align_bytes: int, log: str) -> None:
        """Starts it with one L2 adapter and waits until it answers."""
        self.url = f"http://127.0.0.1:{free_port()}"
        port = free_port()
        self.rpc_url = f"tcp://127.0.0.1:{port}"
        # Shared with the engine's process, which is how an engine without a GPU hands over its KV cache.
        self._shared_memory = f"lmcache_l1_pool_nixl_store_demo_{os.getpid()}"
        with open(log, "a") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-c", _MAIN, "server", "--host", "127.0.0.1", "--port", str(port),
                    "--http-host", "127.0.0.1", "--http-port", self.url.rsplit(":", 1)[1],
                    "--prometheus-port", str(free_port()), "--l1-size-gb", "0.25", "--eviction-policy", "LRU",
                    "--l1-align-bytes", str(align_bytes), "--supported-transfer-mode", "engine_driven",
                    "--shm-name", self._shared_memory, "--l2-adapter", l2_adapter,
                ],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=pathlib.Path(__file__).parent,
                preexec_fn=processes.end_with_parent,
            )
        self._wait_until_healthy(log)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_healthy(self, log: str) -> None:
        deadline = time.monotonic() + _START_SECONDS_MAX
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._get("/healthcheck") == {"status": "healthy"}:
                return
            time.sleep(0.1)
        self.stop(signal.SIGKILL)
        raise RuntimeError(f"lmcache server did not start; what it said is in {log}")

    def _get(self, path: str) -> Optional[Dict[str, Any]]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def storage(self) -> Dict[str, Any]:
        """Its storage manager's part of `/status`."""
        status = self._get("/status")
        if status is None:
            raise RuntimeError("lmcache server gave no status")
        return status["storage_manager"]

    def wait_until_stored(self) -> None:
        """Waits until all that is in L1 was handed to L2 and the adapter has said that it is done."""
        idle = 0
        deadline = time.monotonic() + _STOP_SECONDS_MAX
        # Twice in a row: between leaving one count and entering the other a store is in neither.
        while idle < 2:
            if time.monotonic() > deadline:
                raise RuntimeError("lmcache server did not finish storing to L2")
            store = self.storage()["store_controller"]
            idle = 0 if store["pending_keys_count"] or store["in_flight_task_count"] else idle + 1
            time.sleep(0.1)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Ends it, and waits until it is gone. Ending it again does nothing."""
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(_STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        # One that was killed leaves it behind.
        pathlib.Path("/dev/shm", self._shared_memory).unlink(missing_ok=True)


# The command `lmcache`, with NIXL under the name by which LMCache's adapter imports it.
_MAIN = "import nixl_name; nixl_name.provide(); from lmcache.cli.main import main; main()"

