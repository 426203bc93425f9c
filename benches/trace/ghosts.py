"""What REUSE remembers of blocks that it does not hold: when each was last seen, in a table of fixed size."""

from __future__ import annotations

from functools import lru_cache
from typing import Optional

import xxh3

ENTRIES_PER_SET = 8
_TAG_BITS = 32


# A study asks for the same blocks again and again, and their number is bounded by its trace.
@lru_cache(maxsize=None)
def tag_of(block: int) -> int:
    """What stands for a block's key: the high bits of its digest, never 0, which marks an entry that is free.

    The namespace is empty, so its length is; the key is the one that mover.c makes.
    """
    return max(1, xxh3.digest(b"\0bench-trace/block/%d" % block) >> 128 - _TAG_BITS)


class Ghosts:
    """Tags and times in sets of eight; a full set forgets what was seen longest ago.

    Two blocks with one tag are one and the same to it, here as in the store.
    """

    def __init__(self, slots: int, entries_per_slot: int) -> None:
        self._sets = max(1, -(-slots * entries_per_slot // ENTRIES_PER_SET))
        self._kept = entries_per_slot > 0
        self._entries: dict[int, dict[int, int]] = {}  # by number of the set; most sets of a large pool stay empty

    def seen_at(self, tag: int) -> Optional[int]:
        entries = self._entries.get(tag * self._sets >> _TAG_BITS)
        return None if entries is None else entries.get(tag)

    def put(self, tag: int, time: int) -> None:
        if not self._kept:
            return
        entries = self._entries.setdefault(tag * self._sets >> _TAG_BITS, {})
        if tag not in entries and len(entries) == ENTRIES_PER_SET:
            # Each time is that of one block in one request, so no two entries have the same.
            del entries[min(entries, key=entries.__getitem__)]
        entries[tag] = time

    def remove(self, tag: int) -> None:
        self._entries.get(tag * self._sets >> _TAG_BITS, {}).pop(tag, None)
