"""What every measurement needs: engines, places, rounds, and where results go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Tuple

from harness.engines import Engines
from harness.fio import Setting
from harness.peers import Peers
from harness.rows import Row
from harness.space import remove_tree


@dataclass
class Context:
    engines: Engines
    peers: Peers
    binaries: Path
    places: Dict[str, Path]
    rounds: int
    quick: bool
    rows: List[Row] = field(default_factory=list)
    # By place, operation and largest block: the search takes seconds and holds for cases alike.
    fio_settings: Dict[Tuple[str, str, int], Setting] = field(default_factory=dict)
    # What was done beside the numbers, for result.json.
    details: Dict[str, Any] = field(default_factory=dict)

    def directory(self, place: str, name: str) -> Path:
        """A fresh directory for a case."""
        path = self.places[place] / name
        remove_tree(path)
        path.mkdir(parents=True)
        return path

    def rounds_of(self, is_point: bool) -> int:
        """Points of the picture are many and have no target."""
        return min(self.rounds, 3) if is_point else self.rounds
