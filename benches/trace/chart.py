"""A chart: a share of all blocks by pool size, as one SVG file without dependencies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Optional, Sequence

_WIDTH, _HEIGHT = 960, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 210, 70, 80
_FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


@dataclass(frozen=True)
class Series:
    """One line of the chart. Points are (pool size in percent of the distinct blocks, percent of all references)."""

    name: str
    colour: str
    line: Sequence[tuple[float, float]]
    marks: Sequence[tuple[float, float]] = ()
    dash: Optional[str] = None


class _Scale:
    """Percent of the distinct blocks (logarithmic) and percent of all references to pixels."""

    def __init__(self, series: Sequence[Series]) -> None:
        points = [point for one in series for point in (*one.line, *one.marks)]
        self.x_min, self.x_max = min(x for x, _ in points), max(x for x, _ in points)
        if self.x_min == self.x_max:
            self.x_min, self.x_max = self.x_min / 2, self.x_max * 2
        highest = max(y for _, y in points)
        self.y_step = 5 if highest <= 50 else 10
        self.y_max = min(100, max(2, math.ceil(highest * 1.05 / self.y_step)) * self.y_step)

    def x(self, percent: float) -> float:
        share = math.log(percent / self.x_min) / math.log(self.x_max / self.x_min)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, rate: float) -> float:
        return _HEIGHT - _BOTTOM - rate / self.y_max * (_HEIGHT - _TOP - _BOTTOM)


def draw(title: str, subtitle: str, what: str, series: Sequence[Series]) -> str:
    """The chart as text; `what` is on the vertical axis."""
    scale = _Scale(series)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{_HEIGHT}' "
        f"viewBox='0 0 {_WIDTH} {_HEIGHT}' {_FONT}>",
        f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='#ffffff'/>",
        _text(_LEFT, 30, title, size=18, weight="600"),
        _text(_LEFT, 52, subtitle, size=13, colour="#555555"),
        *_axes(scale, what, series),
    ]
    for one in series:
        parts.extend(_plot(scale, one))
    parts.extend(_legend(series))
    parts.append("</svg>\n")
    return "\n".join(parts)


def _text(x: float, y: float, text: str, size: int = 13, anchor: str = "start", colour: str = "#222222",
          weight: str = "400", turn: str = "") -> str:
    return (f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' text-anchor='{anchor}' fill='{colour}' "
            f"font-weight='{weight}'{turn}>{escape(text)}</text>")


def _axes(scale: _Scale, what: str, series: Sequence[Series]) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for step in range(0, scale.y_max + 1, scale.y_step):
        y = scale.y(step)
        parts.append(f"<line x1='{_LEFT}' y1='{y:.1f}' x2='{right}' y2='{y:.1f}' stroke='#e4e4e4'/>")
        parts.append(_text(_LEFT - 10, y + 4.5, f"{step} %", anchor="end"))
    for percent in sorted({x for one in series for x, _ in one.marks}):
        x = scale.x(percent)
        parts.append(f"<line x1='{x:.1f}' y1='{_TOP}' x2='{x:.1f}' y2='{bottom + 6}' stroke='#e4e4e4'/>")
        parts.append(_text(x, bottom + 22, f"{percent:g} %", anchor="middle"))
    parts.append(f"<path d='M{_LEFT} {_TOP}V{bottom}H{right}' fill='none' stroke='#222222'/>")
    parts.append(_text((_LEFT + right) / 2, bottom + 50, "slots of the pool, of the trace's distinct blocks "
                       "(logarithmic)", anchor="middle"))
    middle = (_TOP + bottom) / 2
    parts.append(_text(22, middle, what, anchor="middle",
                       turn=f" transform='rotate(-90 22 {middle:.1f})'"))
    return parts


def _plot(scale: _Scale, one: Series) -> list[str]:
    path = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in one.line)
    dash = f" stroke-dasharray='{one.dash}'" if one.dash else ""
    parts = [f"<polyline points='{path}' fill='none' stroke='{one.colour}' stroke-width='2'{dash}/>"]
    parts += [
        f"<circle cx='{scale.x(x):.1f}' cy='{scale.y(y):.1f}' r='4.5' fill='#ffffff' stroke='{one.colour}' "
        "stroke-width='2.5'/>"
        for x, y in one.marks
    ]
    return parts


def _legend(series: Sequence[Series]) -> list[str]:
    x, y = _WIDTH - _RIGHT + 24, _TOP + 14
    parts = []
    for one in series:
        dash = f" stroke-dasharray='{one.dash}'" if one.dash else ""
        parts.append(f"<line x1='{x}' y1='{y}' x2='{x + 30}' y2='{y}' stroke='{one.colour}' stroke-width='2'{dash}/>")
        if one.marks:
            parts.append(f"<circle cx='{x + 15}' cy='{y}' r='4.5' fill='#ffffff' stroke='{one.colour}' "
                         "stroke-width='2.5'/>")
        parts.append(_text(x + 40, y + 4.5, one.name))
        y += 26
    parts.append(_text(x, y + 14, "circles: the library, measured", size=12, colour="#555555"))
    parts.append(_text(x, y + 31, "lines: simulated", size=12, colour="#555555"))
    return parts
