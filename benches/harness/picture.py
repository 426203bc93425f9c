"""The picture of a run: throughput by object size beside the peers, and ours by batch and by threads."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence

from cases import DISK, TMPFS, Case, Throughput, size_name
from harness.chart import Frame, Panel, Point, Style, draw_legend, draw_panel, text
from harness.engines import OURS
from harness.rows import Row, Samples

STYLES = {
    OURS: Style("nixl-store", "#D55E00", 3.0),
    "fio": Style("fio, best setting", "#555555", 1.6, "5 3"),
    "nixl-uring": Style("NIXL, io_uring", "#0072B2"),
    "nixl-aio": Style("NIXL, Linux AIO", "#56B4E9"),
    "lmcache": Style("LMCache, static pool", "#009E73"),
}
OPERATION_STYLES = {"put": Style("nixl-store, put", "#D55E00", 3.0), "get": Style("nixl-store, get", "#CC79A7", 3.0)}

SUBTITLE = "static pool, O_DIRECT, 128 MiB in each batch; medians, bars from the slowest to the fastest round"
WIDTH = 980
PANEL_WIDTH, PANEL_HEIGHT = 400.0, 210.0
LEFT, TOP = 62.0, 108.0
COLUMN, ROW = 480.0, 292.0


def samples_of(rows: Sequence[Row], case: Throughput, operation: str, name: str) -> Optional[Samples]:
    for row in rows:
        if row.case == case.title and row.operation == operation:
            if name == OURS and row.ours is not None:
                return row.ours
            if row.peer_name == name and row.peer is not None:
                return row.peer
    return None


def points_of(rows: Sequence[Row], cases: Sequence[Throughput], operation: str, name: str) -> List[Point]:
    found = [(tick, samples_of(rows, case, operation, name)) for tick, case in enumerate(cases)]
    return [
        Point(tick, samples.median, min(samples.values), max(samples.values))
        for tick, samples in found
        if samples is not None and samples.values
    ]


def size_panel(rows: Sequence[Row], cases: Sequence[Throughput], operation: str, place: str) -> Panel:
    sizes = sorted((case for case in cases if case.place == place), key=lambda case: case.object_bytes)
    panel = Panel(f"{operation}, {place}", "object size", [size_name(case.object_bytes) for case in sizes])
    # Ours comes last, to lie on top.
    for name in [*(name for name in STYLES if name != OURS), OURS]:
        points = points_of(rows, sizes, operation, name)
        if points:
            panel.lines.append((STYLES[name], points))
    return panel


def own_panel(
    rows: Sequence[Row], cases: Sequence[Throughput], title: str, axis: str, tick: Callable[[Throughput], int]
) -> Panel:
    panel = Panel(title, axis, [str(tick(case)) for case in cases])
    for operation, style in OPERATION_STYLES.items():
        panel.lines.append((style, points_of(rows, cases, operation, OURS)))
    return panel


def draw(cases: Sequence[Case], rows: Sequence[Row]) -> Optional[str]:
    """None if no point of the picture was measured."""
    points = [case for case in cases if isinstance(case, Throughput) and case.is_point]
    groups: Dict[str, List[Throughput]] = {"size": [], "batch": [], "threads": []}
    for case in points:
        groups[case.name.split("-")[0]].append(case)
    panels: List[List[Panel]] = []
    if groups["size"]:
        places = [place for place in (DISK, TMPFS) if any(case.place == place for case in groups["size"])]
        panels += [[size_panel(rows, groups["size"], one, place) for one in ("put", "get")] for place in places]
    own = []
    if groups["batch"]:
        own.append(own_panel(rows, groups["batch"], "nixl-store by batch, tmpfs", "objects of 1 MiB in a batch",
                             lambda case: case.batch))
    if groups["threads"]:
        own.append(own_panel(rows, groups["threads"], "nixl-store by caller threads, tmpfs",
                             "threads that share 64 objects of 1 MiB", lambda case: case.threads))
    if own:
        panels.append(own)
    if not panels:
        return None

    drawn = [style for row in panels for panel in row for style, _ in panel.lines]
    shown = [style for style in STYLES.values() if style in drawn]
    height = TOP + ROW * len(panels) - 18
    parts = [
        f"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0f}\" width=\"{WIDTH}\" "
        f"height=\"{height:.0f}\">",
        f"<rect width=\"{WIDTH}\" height=\"{height:.0f}\" fill=\"#ffffff\"/>",
        text(LEFT - 34, 30, "Throughput of whole batches, side by side", 18, "start", "bold"),
        text(LEFT - 34, 50, SUBTITLE, 12, "start"),
        draw_legend(shown, LEFT - 34, 70),
    ]
    for down, row in enumerate(panels):
        for across, panel in enumerate(row):
            frame = Frame(LEFT + COLUMN * across, TOP + ROW * down, PANEL_WIDTH, PANEL_HEIGHT)
            parts.append(draw_panel(panel, frame))
            if panel.lines and panel.lines[0][0] in OPERATION_STYLES.values():
                parts.append(draw_legend(list(OPERATION_STYLES.values()), frame.left + 12, frame.bottom - 14))
    return "\n".join([*parts, "</svg>"]) + "\n"
