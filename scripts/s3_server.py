#!/usr/bin/env python3
"""Runs a real S3 server on loopback for as long as standard input is open.

    s3_server.py seaweedfs|juicefs --program PATH --directory DIR [--bucket NAME]

Free ports, keys made up for this run, everything it writes below DIR, which has to be there. Once the server takes
requests, one line of JSON on standard output says where it is: endpoint, bucket, access_key, secret_key. It ends when
standard input does, on SIGINT and on SIGTERM; then the server is stopped first. What the server says is in DIR/log.
Exits with 1, and the end of that log on standard error, where the server does not come up.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import hashlib
import hmac
import http.client
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List

READY_S_MAX = 60
STARTS_MAX = 3
# A server that was asked to end gets this long; SeaweedFS can take half a minute, and nobody needs its data.
STOP_S_MAX = 2
LOG_BYTES_SHOWN = 2000
REGION = "us-east-1"
PR_SET_PDEATHSIG = 1
CACHE_MIB = 512


class ServerError(RuntimeError):
    """The server cannot be used; the message says why."""


class ServerEnded(ServerError):
    """It was started and ended by itself."""


def free_ports(count: int) -> List[int]:
    """Ports that nobody has at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def signed_headers(method: str, path: str, host: str, keys: "tuple[str, str]") -> Dict[str, str]:
    """AWS Signature Version 4 of a request without a body or a query."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": now}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"{method}\n{path}\n\n{lines}\n{names}\n{empty}"
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = ("AWS4" + keys[1]).encode()
    for part in (now[:8], REGION, "s3", "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys[0]}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    return headers


def ask(method: str, port: int, bucket: str, keys: "tuple[str, str]") -> int:
    """Status of a request about the bucket; 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        headers = signed_headers(method, f"/{bucket}", f"127.0.0.1:{port}", keys)
        connection.request(method, f"/{bucket}", headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def dies_with_parent() -> Callable[[], None]:
    """For the child between fork and exec: a server that nobody is there to stop must not stay."""
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


class Server:
    """A process that serves one bucket."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.directory: Path = arguments.directory.resolve()
        self.program = str(Path(shutil.which(arguments.program) or arguments.program).absolute())
        self.bucket: str = arguments.bucket
        self.keys = (secrets.token_hex(10), secrets.token_hex(20))
        self.log = self.directory / "log"
        start = {"seaweedfs": self._seaweedfs, "juicefs": self._juicefs}[arguments.kind]
        self.process = start()

    def _start(self, command: List[str], environment: Dict[str, str]) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env={**os.environ, "HOME": str(self.directory), **environment}, preexec_fn=dies_with_parent(),
                start_new_session=True,
            )

    def _seaweedfs(self) -> "subprocess.Popen[bytes]":
        names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
                 "filer.port", "filer.port.grpc")
        ports = free_ports(len(names))
        self.port = ports[0]
        identity = {
            "name": "owner", "actions": ["Admin", "Read", "List", "Tagging", "Write"],
            "credentials": [{"accessKey": self.keys[0], "secretKey": self.keys[1]}],
        }
        config = self.directory / "s3.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        (self.directory / "data").mkdir(exist_ok=True)
        return self._start(
            [self.program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.directory / 'data'}",
             "-volume.max=40", "-master.volumeSizeLimitMB=1024", "-master.telemetry=false", "-s3",
             f"-s3.config={config}", "-s3.port.lance=0", "-s3.port.iceberg=0",
             *(f"-{name}={port}" for name, port in zip(names, ports))],
            {},
        )

    def _juicefs(self) -> "subprocess.Popen[bytes]":
        (self.port,) = free_ports(1)
        metadata = f"sqlite3://{self.directory / 'meta.db'}"
        # Without a trash what is removed is gone, and its room free.
        done = subprocess.run(
            [self.program, "format", "--storage", "file", "--bucket", f"{self.directory / 'data'}/", "--trash-days",
             "0", metadata, self.bucket],
            cwd=self.directory, env={**os.environ, "HOME": str(self.directory)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )
        self.log.write_text(done.stdout, encoding="utf-8")
        if done.returncode != 0:
            raise ServerError(f"juicefs format failed: {done.stdout[-LOG_BYTES_SHOWN:]}")
        return self._start(
            [self.program, "gateway", "--no-usage-report", "--no-banner", "--log", str(self.directory / "gateway.log"),
             "--cache-dir", str(self.directory / "cache"), "--cache-size", str(CACHE_MIB), metadata,
             f"127.0.0.1:{self.port}"],
            {"MINIO_ROOT_USER": self.keys[0], "MINIO_ROOT_PASSWORD": self.keys[1]},
        )

    def wait_until_ready(self) -> None:
        """Makes the bucket; one that is there already is as good."""
        deadline = time.monotonic() + READY_S_MAX
        status = 0
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerEnded(f"the server ended with {self.process.returncode}: {self._log_end()}")
            status = ask("PUT", self.port, self.bucket, self.keys)
            if status in (200, 409) and ask("HEAD", self.port, self.bucket, self.keys) == 200:
                return
            time.sleep(0.1)
        raise ServerError(f"no bucket after {READY_S_MAX} s, the last answer was {status}: {self._log_end()}")

    def _log_end(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-LOG_BYTES_SHOWN:]

    def facts(self) -> Dict[str, object]:
        return {
            "endpoint": f"http://127.0.0.1:{self.port}", "port": self.port, "bucket": self.bucket, "region": REGION,
            "access_key": self.keys[0], "secret_key": self.keys[1],
        }

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def start(arguments: argparse.Namespace) -> Server:
    """A server that takes requests; started again where another process took one of its ports in between."""
    for left in reversed(range(STARTS_MAX)):
        server = Server(arguments)
        try:
            server.wait_until_ready()
            return server
        except BaseException as error:
            server.stop()
            if not isinstance(error, ServerEnded) or not left:
                raise
    raise AssertionError("the last start is answered or raises")


def wait_for_end(server: Server) -> None:
    """Until nobody holds the other end of standard input, or the server ends by itself."""
    while server.process.poll() is None:
        if select.select([sys.stdin], [], [], 1.0)[0] and not os.read(sys.stdin.fileno(), 4096):
            return
    raise ServerError(f"the server ended with {server.process.returncode}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("seaweedfs", "juicefs"))
    parser.add_argument("--program", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--bucket", default="bench")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    server = None
    try:
        server = start(arguments)
        print(json.dumps(server.facts()), flush=True)
        wait_for_end(server)
    except (ServerError, OSError) as error:
        print(f"s3_server: {arguments.kind}: {error}", file=sys.stderr)
        return 1
    finally:
        if server is not None:
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
