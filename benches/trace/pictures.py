"""The two pictures of a study: what was hit and what was written, by pool size."""

from __future__ import annotations

from typing import Callable, Sequence

import chart
from policies import Outcome, Variant
from study import Record, Study

# Between those that are replayed, so that the lines bend where the truth does.
_PERCENTS_BETWEEN = (2.0, 3.0, 7.0, 15.0, 35.0, 70.0)
# Of Okabe and Ito, which differ for all eyes.
_COLOURS = {"LRU": "#0072b2", "REUSE": "#d55e00", "LFU": "#009e73", "FIFO": "#e69f00", "MRU": "#cc79a7"}
_VARIANT_DASH = "7 4"
_UNBOUNDED, _MIN = "#888888", "#222222"


def hits(study: Study, subtitle: str, unbounded_hits: int, matrix: Sequence[Record]) -> str:
    """Blocks hit, between what is possible and what the policies reach."""
    grid = _grid(study)
    bounds = [
        chart.Series("never evicts", _UNBOUNDED, _level(study, grid, unbounded_hits), dash="2 5"),
        chart.Series("Belady's MIN", _MIN, [(p, _rate(study, study.bound(p)["min_hits"])) for p in grid], dash="8 4"),
    ]
    return chart.draw("Blocks hit by eviction policy and pool size", subtitle, "blocks hit, of all referenced",
                      bounds + _policies(study, grid, matrix, "hits", lambda outcome: outcome.hits))


def writes(study: Study, subtitle: str, matrix: Sequence[Record]) -> str:
    """Blocks written: what a flash device wears by."""
    grid = _grid(study)
    once = chart.Series("each block once", _UNBOUNDED, _level(study, grid, study.distinct), dash="2 5")
    return chart.draw("Blocks written by eviction policy and pool size", subtitle, "blocks written, of all referenced",
                      [once, *_policies(study, grid, matrix, "puts", lambda outcome: outcome.puts)])


def _policies(study: Study, grid: Sequence[float], matrix: Sequence[Record], measured: str,
              simulated: Callable[[Outcome], int]) -> list[chart.Series]:
    def one(variant: Variant) -> chart.Series:
        line = [(percent, _rate(study, simulated(outcome))) for percent, outcome in study.curve(variant, grid)]
        marks = [(record["percent"], _rate(study, record[measured])) for record in matrix
                 if record["policy"] == variant.name]
        dash = None if variant.quantile is None else _VARIANT_DASH
        return chart.Series(variant.name, _COLOURS[variant.policy], line, marks, dash)

    return [one(variant) for variant in study.plan.variants]


def _grid(study: Study) -> list[float]:
    percents = study.plan.percents
    return sorted({*percents, *(percent for percent in _PERCENTS_BETWEEN if percents[0] < percent < percents[-1])})


def _level(study: Study, grid: Sequence[float], blocks: int) -> list[tuple[float, float]]:
    return [(percent, _rate(study, blocks)) for percent in grid]


def _rate(study: Study, blocks: int) -> float:
    return 100 * blocks / study.references
