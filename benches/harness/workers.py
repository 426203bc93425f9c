"""Worker processes: one engine each, driven by lines on standard input and answering in lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional


class WorkerError(RuntimeError):
    """A command failed: wrong bytes, an error of the engine, or a worker that died."""


class Worker:
    """A process that serves commands."""

    def __init__(self, name: str, command: List[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, **environment}, text=True, bufsize=1, start_new_session=True,
            )

    def ask(self, command: str, **fields: Any) -> Dict[str, Any]:
        """Sends a command and waits for its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        line = "\t".join([command, *(f"{name}={value}" for name, value in fields.items())])
        try:
            self._process.stdin.write(line + "\t\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise WorkerError(f"{self.name} died at \"{command}\"; what it said last is in {self._log}")
        result: Dict[str, Any] = json.loads(answer)
        if not result.pop("ok"):
            raise WorkerError(f"{self.name}: {command}: {result['error']}")
        return result

    @property
    def process_id(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Ends the process without giving it a chance to close anything."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class WorkerPool:
    """Keeps a worker for each engine, started when it is needed first."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._workers: Dict[str, Worker] = {}

    def get(self, name: str, command: List[str], environment: Optional[Mapping[str, str]] = None) -> Worker:
        if name not in self._workers:
            self._workers[name] = Worker(name, command, environment or {}, self._log)
        return self._workers[name]

    def discard(self, name: str) -> None:
        worker = self._workers.pop(name, None)
        if worker is not None:
            worker.kill()

    def kill_all(self) -> None:
        for name in list(self._workers):
            self.discard(name)
