"""Medians and ratios over rounds, and whether they reach a target."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Optional, Sequence


@dataclass(frozen=True)
class Ratio:
    """Of neighbours in time, one for each round."""

    median: float
    minimum: float
    maximum: float


def ratio_of_rounds(ours: Sequence[float], peer: Sequence[float]) -> Ratio:
    """Ratios of the measurements of the same round; the median of them is not the ratio of the medians."""
    if not ours or len(ours) != len(peer):
        raise ValueError(f"{len(ours)} rounds of ours, {len(peer)} of the peer")
    ratios = [one / other for one, other in zip(ours, peer)]
    return Ratio(median(ratios), min(ratios), max(ratios))


@dataclass(frozen=True)
class Target:
    """A bound on a ratio, or on the value itself where there is no peer."""

    bound: float
    at_least: bool = True

    def verdict(self, value: float) -> str:
        if self.at_least:
            return "ok" if value >= self.bound else "below"
        return "ok" if value <= self.bound else "above"

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:,g}"


def verdict(target: Optional[Target], value: Optional[float]) -> str:
    """Empty where nothing is asked for."""
    if target is None or value is None:
        return ""
    return target.verdict(value)
