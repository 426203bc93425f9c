"""A line chart as SVG, drawn by hand: nothing but the standard library is needed to see the results."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape
from typing import List, Sequence, Tuple

INK = "#222222"
FAINT = "#dddddd"
FONT = "font-family=\"Helvetica, Arial, sans-serif\""


@dataclass(frozen=True)
class Style:
    """How one engine looks in every panel: colours of Okabe and Ito, which the colour-blind tell apart."""

    label: str
    colour: str
    width: float = 1.6
    dashes: str = ""


@dataclass(frozen=True)
class Point:
    """Position on the axis (an index of its ticks), middle and ends of what was measured."""

    tick: int
    value: float
    lowest: float
    highest: float


@dataclass
class Panel:
    title: str
    axis: str
    ticks: Sequence[str]
    lines: List[Tuple[Style, List[Point]]] = field(default_factory=list)


@dataclass(frozen=True)
class Frame:
    """Where a panel's axes are, in the picture's units."""

    left: float
    top: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.top + self.height


def text(x: float, y: float, words: str, size: int = 12, anchor: str = "middle", weight: str = "normal") -> str:
    return (
        f"<text x=\"{x:.1f}\" y=\"{y:.1f}\" font-size=\"{size}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\" "
        f"fill=\"{INK}\" {FONT}>{escape(words)}</text>"
    )


def stroke(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, more: str = "") -> str:
    return (
        f"<line x1=\"{x1:.1f}\" y1=\"{y1:.1f}\" x2=\"{x2:.1f}\" y2=\"{y2:.1f}\" stroke=\"{colour}\" "
        f"stroke-width=\"{width}\"{more}/>"
    )


def tick_step(highest: float) -> float:
    """A round number that divides the axis into four to eight parts."""
    rough = max(highest, 1e-9) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough)


def axes(panel: Panel, frame: Frame, step: float, steps: int) -> List[str]:
    parts = [text(frame.left + frame.width / 2, frame.top - 12, panel.title, 14, weight="bold")]
    for number in range(steps + 1):
        y = frame.bottom - frame.height * number / steps
        parts.append(stroke(frame.left, y, frame.left + frame.width, y, FAINT if number else INK))
        parts.append(text(frame.left - 6, y + 4, f"{number * step:g}", 11, "end"))
    for index, label in enumerate(panel.ticks):
        x = tick_x(panel, frame, index)
        parts.append(stroke(x, frame.bottom, x, frame.bottom + 4, INK))
        parts.append(text(x, frame.bottom + 18, label, 11))
    parts.append(text(frame.left + frame.width / 2, frame.bottom + 36, panel.axis, 12))
    parts.append(text(frame.left - 34, frame.top - 12, "GB/s", 12, "start"))
    return parts


def tick_x(panel: Panel, frame: Frame, index: int) -> float:
    return frame.left + frame.width * (index + 0.5) / len(panel.ticks)


def draw_panel(panel: Panel, frame: Frame) -> str:
    """Lines through the middles; a thin bar at each shows the ends."""
    highest = max((point.highest for _, points in panel.lines for point in points), default=1.0)
    step = tick_step(highest)
    steps = max(1, math.ceil(highest / step))
    parts = axes(panel, frame, step, steps)

    def at(value: float) -> float:
        return frame.bottom - frame.height * value / (step * steps)

    for style, points in panel.lines:
        places = [(tick_x(panel, frame, point.tick), at(point.value)) for point in points]
        dashes = f" stroke-dasharray=\"{style.dashes}\"" if style.dashes else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(
            f"<polyline points=\"{path}\" fill=\"none\" stroke=\"{style.colour}\" stroke-width=\"{style.width}\" "
            f"stroke-linejoin=\"round\"{dashes}/>"
        )
        for point, (x, y) in zip(points, places):
            parts.append(stroke(x, at(point.lowest), x, at(point.highest), style.colour, 1, " stroke-opacity=\"0.45\""))
            radius = 2 + style.width / 2
            parts.append(f"<circle cx=\"{x:.1f}\" cy=\"{y:.1f}\" r=\"{radius:.1f}\" fill=\"{style.colour}\"/>")
    return "\n".join(parts)


def draw_legend(styles: Sequence[Style], left: float, y: float) -> str:
    parts = []
    for style in styles:
        dashes = f" stroke-dasharray=\"{style.dashes}\"" if style.dashes else ""
        parts.append(stroke(left, y, left + 28, y, style.colour, style.width, dashes))
        radius = 2 + style.width / 2
        parts.append(f"<circle cx=\"{left + 14:.1f}\" cy=\"{y:.1f}\" r=\"{radius:.1f}\" fill=\"{style.colour}\"/>")
        parts.append(text(left + 36, y + 4, style.label, 12, "start"))
        left += 36 + 7.2 * len(style.label) + 26
    return "\n".join(parts)
