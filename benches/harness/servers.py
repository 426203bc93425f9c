"""S3 servers that a case starts for itself: the benchmark's own, and real ones. All are told to end by the end of their
standard input, so that none outlives this program, whatever becomes of it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from cases import GIB, JUICEFS, MEMORY_SERVER
from harness.peers import NOT_INSTALLED, Peers
from harness.workers import WorkerError

BUCKET = "bench"
# Objects of all engines of a case at a time. Pages that nobody touches take no memory.
MEMORY_BYTES_MAX = 6 * GIB
STOP_S_MAX = 20
# Program of each real server, beside the Python of the peers.
PROGRAMS = {"seaweedfs": "weed", "juicefs": "juicefs"}


@dataclass
class Endpoint:
    """What a client has to know."""

    port: int
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    # What NIXL needs on this server beside the parameters that ours has too.
    nixl_only: Dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def parameters(self) -> Dict[str, str]:
        """By the names that NIXL gave them."""
        return {
            "access_key": self.access_key, "secret_key": self.secret_key, "bucket": self.bucket,
            "endpoint_override": self.url, "scheme": "http", "region": "us-east-1", "use_virtual_addressing": "false",
        }


def missing(kind: str, peers: Peers) -> Optional[str]:
    """Why a server is not there."""
    if kind == MEMORY_SERVER or (peers.root / "bin" / PROGRAMS[kind]).exists():
        return None
    return NOT_INSTALLED


class Server:
    """One server that is ready for requests."""

    def __init__(self, kind: str, directory: Path, binaries: Path, peers: Peers, log: Path) -> None:
        self.kind = kind
        script = Path(__file__).resolve().parent.parent.parent / "scripts" / "s3_server.py"
        command: List[str] = [str(binaries / "s3_memory"), "--bucket", BUCKET, "--memory-bytes", str(MEMORY_BYTES_MAX)]
        if kind != MEMORY_SERVER:
            program = peers.root / "bin" / PROGRAMS[kind]
            command = [sys.executable, str(script), kind, "--program", str(program), "--directory", str(directory),
                       "--bucket", BUCKET]
        with log.open("ab") as errors:
            # Of a session of its own, so that Ctrl-C reaches it by us, after the engines let go of it.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                start_new_session=True,
            )
        try:
            self.endpoint = self._read_endpoint()
        except WorkerError as error:
            self.close()
            raise WorkerError(f"{error}; what it said is in {log}") from error

    def _read_endpoint(self) -> Endpoint:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.kind} did not start")
        if self.kind == MEMORY_SERVER:
            return Endpoint(int(line.split()[1]), BUCKET, "anybody", "anything")
        facts: Dict[str, Any] = json.loads(line)
        # The gateway refuses bodies whose checksum comes behind them, which is what NIXL sends unless told otherwise.
        nixl_only = {"req_checksum": "required"} if self.kind == JUICEFS else {}
        return Endpoint(facts["port"], facts["bucket"], facts["access_key"], facts["secret_key"], nixl_only)

    def _ask(self, target: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.endpoint.port, timeout=30)
        try:
            connection.request("POST", target)
            if connection.getresponse().status != 200:
                raise WorkerError(f"{self.kind} refuses {target}")
        except (OSError, http.client.HTTPException) as error:
            raise WorkerError(f"{self.kind} does not answer: {error}") from error
        finally:
            connection.close()

    @property
    def can_count(self) -> bool:
        """Whether puts can be counted and thrown away."""
        return self.kind == MEMORY_SERVER

    def keep_puts(self, keep: bool) -> None:
        if self.can_count:
            self._ask("/-/puts?keep" if keep else "/-/puts?count")

    def clear(self) -> None:
        """Forgets what a round left, where that takes memory."""
        if self.can_count:
            self._ask("/-/clear")

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
