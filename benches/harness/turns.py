"""Lets engines take turns, round after round, so that what is compared are neighbours in time."""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence

from harness.rows import Samples
from harness.workers import WorkerError

# Measures one engine in one round and adds to its samples.
Turn = Callable[[str, int, Samples], None]


class Turns:
    """Engines that go on taking part; one that fails drops out with its reason."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names: List[str] = list(names)
        self.failed: Dict[str, str] = {}
        self.samples: Dict[str, Dict[str, Samples]] = {}

    def attempt(self, name: str, action: Callable[[], object]) -> None:
        """Does something with an engine that still takes part."""
        if name in self.failed:
            return
        try:
            action()
        except (WorkerError, RuntimeError) as error:
            self.failed[name] = str(error)

    def order(self, number: int, participants: Sequence[str] = ()) -> List[str]:
        """Who still takes part, beginning with another one each time."""
        names = [name for name in (participants or self.names) if name not in self.failed]
        first = number % max(1, len(names))
        return names[first:] + names[:first]

    def round(self, operation: str, number: int, turn: Turn, participants: Sequence[str] = ()) -> None:
        """One round of one operation; each round another engine begins."""
        for name in self.order(number, participants):
            samples = self.samples.setdefault(operation, {}).setdefault(name, Samples())
            self.attempt(name, lambda name=name, samples=samples: turn(name, number, samples))

    def of(self, operation: str, name: str) -> "Samples | None":
        return None if name in self.failed else self.samples.get(operation, {}).get(name)
