"""The study's results as tables for people: on the terminal, and as Markdown."""

from __future__ import annotations

from typing import Sequence

from study import Record, Study, throughput

HEADINGS = (
    "pool", "policy", "hit %", "of MIN", "exact %", "anywhere", "put GiB", "got GiB", "evicted",
    "wall s", "blocks/s", "put GB/s", "get GB/s", "p50 ms", "p99 ms", "wrong B",
)
_WIDTHS = (5, 6, 6, 7, 7, 8, 7, 7, 7, 6, 8, 8, 8, 6, 6, 7)

MEANING = (
    "hit %: blocks found in the longest stored prefix of a request, of all blocks referenced; these are got, the "
    "others put.",
    "of MIN: those hits, of the most that any policy can have with as many slots (Belady's MIN, knowing the future).",
    "exact %: hits of an exact simulation of the same policy, all puts of a request under way at once.",
    "anywhere: percent of blocks stored at the time of the lookup, also those behind one that was not, which are of no "
    "use to an engine.",
    "A pool of 100 % evicts nothing, so the policies are the same there, and one is replayed.",
    "wall: the whole replay, filling and comparing the chunks included; blocks/s: chunks got and put per second of it.",
    "GB/s: from submitting a request's batch to its last byte; p50, p99: how long that takes for the gets of a "
    "request.",
    "wrong B: bytes that came back other than they were put; every byte is compared.",
)


def row(record: Record, references: int) -> list[str]:
    """One replay."""
    measured = record["measured"]

    def rate(hits: int) -> str:
        return f"{100 * hits / references:.2f}"

    def speed(direction: str) -> str:
        value = throughput(measured, direction)
        return "-" if value is None else f"{value:.2f}"

    return [
        f"{record['percent']:g} %",
        record["policy"],
        rate(record["hits"]),
        f"{100 * record['hits'] / max(1, record['min_hits']):.1f} %",
        rate(record["simulated_hits"]["request_at_once"]),
        rate(record["block_hits"]),
        f"{measured['put']['bytes'] / 2**30:.1f}",
        f"{measured['get']['bytes'] / 2**30:.1f}",
        f"{measured['evictions']:,}",
        f"{measured['wall_seconds']:.1f}",
        f"{record['blocks_per_second']:,.0f}",
        speed("put"),
        speed("get"),
        f"{measured['get']['batch_p50_ms']:.2f}",
        f"{measured['get']['batch_p99_ms']:.2f}",
        f"{measured['bytes_wrong']}",
    ]


def terminal_line(cells: Sequence[str]) -> str:
    return " ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS))


def bounds_lines(study: Study, unbounded_hits: int) -> list[str]:
    """What is possible, one line for each pool size."""
    lines = [f"a cache that never evicts: {100 * unbounded_hits / study.references:.2f} % of blocks hit"]
    bounds = [study.bound(percent) for percent in study.plan.percents]
    for bound in bounds:
        lines.append(
            f"pool of {bound['percent']:g} %, {bound['slots']:,} slots: Belady's MIN hits "
            f"{100 * bound['min_hits'] / study.references:.2f} % of blocks, "
            f"{100 * bound['min_prefix_hits'] / study.references:.2f} % as prefixes"
        )
    lines.append(
        "MIN counts blocks wherever they are in their chain, which makes it an upper bound for prefixes; "
        + ("the two agree here, so it can be reached"
           if all(bound["min_hits"] == bound["min_prefix_hits"] for bound in bounds) else "here they differ")
    )
    return lines


def exact_line(record: Record) -> str:
    counted = record["counted"]
    return (
        f"{record['policy']}: {counted['hits']:,} hits, {counted['puts']:,} puts, {counted['evictions']:,} evictions; "
        f"simulation: {record['simulated']['hits']:,}, {record['simulated']['puts']:,}, "
        f"{record['simulated']['evictions']:,}"
    )


def markdown(study: Study, environment: Sequence[str], unbounded_hits: int, matrix: Sequence[Record],
             checks: Sequence[Record], large: Record) -> str:
    """The whole report."""
    def table(records: Sequence[Record]) -> list[str]:
        head = ["| " + " | ".join(HEADINGS) + " |", "|" + " ---: |" * len(HEADINGS)]
        return head + ["| " + " | ".join(row(record, study.references)) + " |" for record in records]

    lines = ["# Trace replay", "", "![Hit rate by pool size](trace.svg)", ""]
    lines += [f"- {line}" for line in environment]
    lines += ["", "## What is possible", ""] + [f"- {line}" for line in bounds_lines(study, unbounded_hits)]
    lines += ["", "## Every policy, every pool size", "", *table(matrix), ""]
    lines += [f"- {line}" for line in MEANING]
    lines += ["", "## One replay with larger chunks", "", f"Chunks of {large['chunk_bytes']:,} bytes.", ""]
    lines += table([large])
    lines += ["", "## Exact check", "", "Block by block in memory, where nothing is left to the timing of transfers; "
              "hits, puts and evictions have to be equal.", ""]
    lines += [f"- {exact_line(record)}" for record in checks]
    return "\n".join(lines) + "\n"
