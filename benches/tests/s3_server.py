"""Builds the benchmark's S3 server once and runs it for a test."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, Optional, Tuple

SOURCES = Path(__file__).resolve().parent.parent / "s3_memory"
BUCKET = "bench"
Answer = Tuple[int, Dict[str, str], bytes]


def build(folder: Path) -> Path:
    program = folder / "s3_memory"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    compiler = shutil.which("cc") or "cc"
    command = [compiler, *flags, *map(str, sorted(SOURCES.glob("*.c"))), "-o", str(program), "-lpthread"]
    subprocess.run(command, check=True)
    return program


class S3Server:
    """One server with a bucket and a connection to it, for a `with`."""

    _folder: Optional["tempfile.TemporaryDirectory[str]"] = None
    _program: Optional[Path] = None

    def __init__(self, memory_bytes: int = 64 << 20) -> None:
        if S3Server._program is None:
            S3Server._folder = tempfile.TemporaryDirectory()
            S3Server._program = build(Path(S3Server._folder.name))
        self._memory_bytes = memory_bytes

    def __enter__(self) -> "S3Server":
        command = [str(self._program), "--bucket", BUCKET, "--memory-bytes", str(self._memory_bytes)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split()[1])
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.status = self.process.wait(timeout=20)
        self.process.stdout.close()
        # A finding of the sanitizers shows here.
        assert self.status == 0, f"the server ended with {self.status}"

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        """Header names are written with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, target, body=body or None, headers=named)
        answer = self.connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def object(self, method: str, name: str, body: bytes = b"", **headers: str) -> Answer:
        return self.ask(method, f"/{BUCKET}/{name}", body, **headers)
