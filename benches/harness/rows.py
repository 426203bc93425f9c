"""What a benchmark shows: a row for each operation and peer, with all rounds behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any, Dict, List, Optional

from harness.stats import Ratio, Target, ratio_of_rounds, verdict


@dataclass
class Samples:
    """The rounds of one engine: the values that are compared, and CPU seconds per 10^9 bytes where they are known."""

    values: List[float] = field(default_factory=list)
    cpu_s_per_gb: List[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def cpu_median(self) -> Optional[float]:
        return median(self.cpu_s_per_gb) if self.cpu_s_per_gb else None


@dataclass
class Row:
    """One line of the table. Without samples it has a note that says why."""

    case: str
    operation: str
    unit: str
    ours: Optional[Samples]
    peer_name: str = ""
    peer: Optional[Samples] = None
    target: Optional[Target] = None
    note: str = ""
    # The target is one for our own value; the peer is there to compare with.
    bounds_ours: bool = False

    @property
    def ratio(self) -> Optional[Ratio]:
        if self.ours is None or self.peer is None:
            return None
        return ratio_of_rounds(self.ours.values, self.peer.values)

    @property
    def verdict(self) -> str:
        """Of the ratio where there is a peer, of the value itself where none is meant to be."""
        if self.note:
            return self.note
        if self.bounds_ours or not self.peer_name:
            return verdict(self.target, self.ours.median if self.ours is not None else None)
        return verdict(self.target, self.ratio.median if self.ratio is not None else None)

    def as_json(self) -> Dict[str, Any]:
        ratio = self.ratio
        return {
            "case": self.case,
            "operation": self.operation,
            "unit": self.unit,
            "ours": None if self.ours is None else vars(self.ours),
            "peer_name": self.peer_name,
            "peer": None if self.peer is None else vars(self.peer),
            "ratio": None if ratio is None else vars(ratio),
            "target": None if self.target is None else str(self.target),
            "verdict": self.verdict,
        }
