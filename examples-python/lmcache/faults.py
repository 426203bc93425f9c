"""What can happen to a cache's files, done to them on purpose."""

from __future__ import annotations

import os
import pathlib
import resource
from typing import Dict, Iterator, Tuple

import adapters
from session import content

# Enough of a chunk's first bytes to be sure whose they are.
_HEAD_BYTES = 64


def _files(folder: str) -> Iterator[pathlib.Path]:
    return (path for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file())


def find(place: adapters.Place) -> Dict[int, Tuple[pathlib.Path, int]]:
    """The file and the offset at which each chunk lies, found by its content: adapters name and place as they like."""
    heads = {chunk: content(chunk, place.chunk_bytes)[:_HEAD_BYTES] for chunk in range(place.keys)}
    found = {}
    for path in _files(place.folder):
        data = path.read_bytes()
        for chunk, head in heads.items():
            at = data.find(head)
            if at >= 0:
                found[chunk] = (path, at)
    missing = sorted(set(heads) - set(found))
    if missing:
        raise LookupError(f"chunks {missing} are nowhere in {place.folder}")
    return found


def flip_a_bit(place: adapters.Place) -> int:
    """Turns one bit over in the middle of a stored chunk, as a disk or a cable may do. Gives the chunk's number."""
    chunk, (path, at) = sorted(find(place).items())[place.keys // 2]
    with path.open("r+b") as file:
        file.seek(at + place.chunk_bytes // 2)
        byte = file.read(1)[0]
        file.seek(at + place.chunk_bytes // 2)
        file.write(bytes([byte ^ 1]))
        os.fsync(file.fileno())
    return chunk


def cut_short(place: adapters.Place) -> int:
    """Cuts a file off in the middle of its last chunk. Gives the number of the chunk.

    A pool of many chunks in one file loses this chunk alone as well.
    """
    chunk, (path, at) = max(find(place).items(), key=lambda item: (item[1][1], item[0]))
    os.truncate(path, at + place.chunk_bytes // 2)
    return chunk


def limit_files(place: adapters.Place) -> None:
    """From now on writes of this process beyond some offset of a file fail, as on a disk that is full.

    The limit lies in the middle of the first chunk of each file. A write across it is cut short, and the next one is
    refused.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (place.chunk_bytes // 2, resource.RLIM_INFINITY))


def lift_limit() -> None:
    """Takes back limit_files()."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
