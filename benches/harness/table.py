"""Rows as a table for the terminal and for Markdown."""

from __future__ import annotations

from typing import List, Optional, Sequence

from harness.rows import Row, Samples

HEADINGS = ("case", "operation", "ours", "peer", "", "ratio", "min - max", "target", "", "CPU s/GB")
# Numbers are easier to compare when they end in one column.
RIGHT_ALIGNED = (2, 4, 5)


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.095 else f"{value:.3f}"


def quantity(samples: Optional[Samples], unit: str) -> str:
    if samples is None:
        return ""
    return f"{number(samples.median)} {unit}" if unit else f"{samples.median:,.0f}"


def cpu(row: Row) -> str:
    ours = row.ours.cpu_median if row.ours is not None else None
    peer = row.peer.cpu_median if row.peer is not None else None
    if ours is None:
        return ""
    return number(ours) + (f" / {number(peer)}" if peer is not None else "")


def cells(row: Row) -> List[str]:
    ratio = row.ratio
    return [
        row.case,
        row.operation,
        quantity(row.ours, row.unit),
        row.peer_name,
        quantity(row.peer, row.unit),
        "" if ratio is None else number(ratio.median),
        "" if ratio is None else f"{number(ratio.minimum)} - {number(ratio.maximum)}",
        "" if row.target is None else str(row.target),
        # The reasons of failures are long; they stand below the table.
        row.verdict.split(":")[0] if row.verdict.startswith("FAILED") else row.verdict,
        cpu(row),
    ]


def line(fields: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        text.rjust(width) if index in RIGHT_ALIGNED else text.ljust(width)
        for index, (text, width) in enumerate(zip(fields, widths))
    ]
    return "  ".join(padded).rstrip()


def text_table(rows: Sequence[Row]) -> str:
    """Case and operation are written where they change only."""
    body = [cells(row) for row in rows]
    widths = [max(len(fields[index]) for fields in [list(HEADINGS), *body]) for index in range(len(HEADINGS))]
    lines = [line(HEADINGS, widths), "  ".join("-" * width for width in widths)]
    before = ("", "")
    for fields in body:
        here = (fields[0], fields[1])
        if before[0] and here[0] != before[0]:
            lines.append("")
        shown = [*fields]
        if here[0] == before[0]:
            shown[0] = ""
            shown[1] = "" if here[1] == before[1] else here[1]
        lines.append(line(shown, widths))
        before = here
    return "\n".join(lines)


def markdown_table(rows: Sequence[Row]) -> str:
    headings = ("case", "operation", "ours", "peer", "its value", "ratio", "min - max", "target", "verdict", "CPU s/GB")
    marks = ["---:" if index in RIGHT_ALIGNED else "---" for index in range(len(headings))]
    lines = ["| " + " | ".join(headings) + " |", "| " + " | ".join(marks) + " |"]
    lines += ["| " + " | ".join(field.replace("|", "\\|") for field in cells(row)) + " |" for row in rows]
    return "\n".join(lines)
