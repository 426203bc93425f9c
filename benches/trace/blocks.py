"""Block traces: for each request the chain of its block ids.

The compact form is text, one request a line, with runs of consecutive ids written as `first-last` ("0 14-27"); lines
that begin with '#' are comments. It holds nothing of a request but its chain. Run as a program this module makes the
compact form of a trace in Mooncake's format:

    python3 benches/trace/blocks.py conversation_trace.jsonl > conversation.blocks
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Iterable, Iterator

Request = list[int]

_RUN = re.compile(r"(\d+)(?:-(\d+))?")


class TraceError(Exception):
    """The file is no trace; the message says where and why."""


def read(path: Path) -> list[Request]:
    """Reads a trace in the compact form or in Mooncake's JSON lines."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: {error}") from error
    requests = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            continue
        try:
            chain = _from_json(line) if line.startswith("{") else _from_runs(line)
        except (ValueError, KeyError, TypeError) as error:
            raise TraceError(f"{path}, line {number}: {error!r}") from error
        if chain:  # a request without a whole block has nothing to look up
            requests.append(chain)
    if not requests:
        raise TraceError(f"{path}: no request in it")
    return requests


def write(requests: Iterable[Request]) -> Iterator[str]:
    """The lines of the compact form."""
    for chain in requests:
        yield " ".join(_runs(chain)) + "\n"


def _from_json(line: str) -> Request:
    chain = json.loads(line)["hash_ids"]
    if not all(isinstance(block, int) and block >= 0 for block in chain):
        raise ValueError("hash_ids are not all whole numbers")
    return chain


def _from_runs(line: str) -> Request:
    chain: Request = []
    for word in line.split(" "):
        match = _RUN.fullmatch(word)
        if match is None:
            raise ValueError(f"{word!r} is neither an id nor a run such as 14-27")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"the run {word!r} ends before it begins")
        chain.extend(range(first, last + 1))
    return chain


def _runs(chain: Request) -> Iterator[str]:
    start = 0
    for end in range(1, len(chain) + 1):
        if end == len(chain) or chain[end] != chain[end - 1] + 1:
            first, last = chain[start], chain[end - 1]
            yield str(first) if first == last else f"{first}-{last}"
            start = end


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: blocks.py TRACE", file=sys.stderr)
        return 2
    try:
        sys.stdout.writelines(write(read(Path(sys.argv[1]))))
    except TraceError as error:
        print(f"blocks.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
