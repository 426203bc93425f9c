"""The tier that usually stands in front of a store: memory of the engine, which serves what was used last."""

from __future__ import annotations

from collections import OrderedDict
from typing import Sequence


class Tier:
    """An LRU of blocks, leaf first. It takes every block of every request, and serves the longest prefix that it has;
    so the store sees a request only from where the tier ends, and little of what is used again soon."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._line: OrderedDict[int, None] = OrderedDict()

    def keep(self, chain: Sequence[int]) -> None:
        """All of a request's blocks are in the tier now, or the first of them, if they are more than it has room for.
        """
        for block in reversed(chain):
            self._line[block] = None
            self._line.move_to_end(block)
        while len(self._line) > self._slots:
            self._line.popitem(last=False)

    def __contains__(self, block: object) -> bool:
        return block in self._line
