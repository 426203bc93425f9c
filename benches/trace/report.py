"""The study's results as tables for people: on the terminal, and as Markdown."""

from __future__ import annotations

from typing import Optional, Sequence

from study import COMPARED, Record, Study, throughput

HEADINGS = (
    "pool", "policy", "hit %", "of MIN", "exact %", "anywhere", "puts", "of LRU's", "declined", "evicted", "put GiB",
    "got GiB", "wall s", "blocks/s", "put GB/s", "get GB/s", "p50 ms", "p99 ms", "wrong B",
)
_WIDTHS = (5, 10, 6, 7, 7, 8, 7, 8, 8, 7, 7, 7, 6, 8, 8, 8, 6, 6, 7)

MEANING = (
    "hit %: blocks found in the longest stored prefix of a request, of all blocks referenced; these are got, the "
    "others put.",
    "of MIN: those hits, of the most that any policy can have with as many slots (Belady's MIN, knowing the future).",
    "exact %: hits of a simulation of the same policy, all puts of a request under way at once. It lets them end in "
    "the order in which they started, which the store need not; what REUSE declines does not depend on it.",
    "anywhere: percent of blocks stored at the time of the lookup, also those behind one that was not, which are of no "
    "use to an engine.",
    "puts: blocks written; of LRU's: those, of what LRU wrote with as many slots; declined: puts that REUSE held to be "
    "worth less than what would have left for them, and did not write.",
    "REUSE q0.8: with a quantile of 0.8, which writes less; REUSE: with the default of 0.6.",
    "A pool of 100 % evicts nothing, so the policies are the same there, and one is replayed.",
    "wall: the whole replay, filling and comparing the chunks included; blocks/s: chunks got and put per second of it.",
    "GB/s: from submitting a request's batch to its last byte; p50, p99: how long that takes for the gets of a "
    "request.",
    "wrong B: bytes that came back other than they were put; every byte is compared.",
)

TIER_HEADINGS = (
    "pool", "tier hit %", "LRU hit %", "REUSE hit %", "REUSE / LRU", "LRU puts", "REUSE puts", "of LRU's", "declined",
)
TIER_MEANING = (
    "The tier serves the longest prefix of a request that it has; the store is asked for the rest alone, and all of "
    "the request goes to the tier and is offered to the store.",
    "hit %: blocks that came from the tier, or from the store, of all blocks referenced.",
    "Replayed block by block in memory; hits, puts, evictions and what was declined equal the simulation's.",
)


def row(record: Record, references: int) -> list[str]:
    """One replay."""
    measured = record["measured"]

    def speed(direction: str) -> str:
        value = throughput(measured, direction)
        return "-" if value is None else f"{value:.2f}"

    return [
        f"{record['percent']:g} %",
        record["policy"],
        _rate(record["hits"], references),
        f"{100 * record['hits'] / max(1, record['min_hits']):.1f} %",
        _rate(record["simulated_hits"]["request_at_once"], references),
        _rate(record["block_hits"], references),
        f"{record['puts']:,}",
        _ratio(record["puts"], record.get("lru_puts")),
        f"{record['declined']:,}",
        f"{measured['evictions']:,}",
        f"{measured['put']['bytes'] / 2**30:.1f}",
        f"{measured['get']['bytes'] / 2**30:.1f}",
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
    lines = [f"a cache that never evicts: {_rate(unbounded_hits, study.references)} % of blocks hit"]
    bounds = [study.bound(percent) for percent in study.plan.percents]
    for bound in bounds:
        lines.append(
            f"pool of {bound['percent']:g} %, {bound['slots']:,} slots: Belady's MIN hits "
            f"{_rate(bound['min_hits'], study.references)} % of blocks, "
            f"{_rate(bound['min_prefix_hits'], study.references)} % as prefixes"
        )
    lines.append(
        "MIN counts blocks wherever they are in their chain, which makes it an upper bound for prefixes; "
        + ("the two agree here, so it can be reached"
           if all(bound["min_hits"] == bound["min_prefix_hits"] for bound in bounds) else "here they differ")
    )
    return lines


def exact_line(record: Record) -> str:
    counted, simulated = record["counted"], record["simulated"]
    of_tier = f"{counted['tier_hits']:,} hits of the tier, " if record["tier_slots"] else ""
    return (
        f"{record['policy']}, {record['percent']:g} %: {of_tier}{counted['hits']:,} hits, {counted['puts']:,} puts, "
        f"{counted['evictions']:,} evictions, {counted['declined']:,} declined; simulation: {simulated['hits']:,}, "
        f"{simulated['puts']:,}, {simulated['evictions']:,}, {simulated['declined']:,}"
    )


def tier_rows(records: Sequence[Record], references: int) -> list[list[str]]:
    """LRU and REUSE behind the tier, one row for each pool size; a policy that was not replayed has no number."""
    percents = sorted({record["percent"] for record in records})
    return [_tier_row([record for record in records if record["percent"] == percent], references)
            for percent in percents]


def _tier_row(records: Sequence[Record], references: int) -> list[str]:
    counts = {record["policy"]: record["counted"] for record in records}
    lru, reuse = (counts.get(variant.name) for variant in COMPARED)

    def number(count: Optional[Record], name: str) -> str:
        return "-" if count is None else f"{count[name]:,}"

    return [
        f"{records[0]['percent']:g} %",
        _rate(records[0]["counted"]["tier_hits"], references),
        "-" if lru is None else _rate(lru["hits"], references),
        "-" if reuse is None else _rate(reuse["hits"], references),
        f"{reuse['hits'] / lru['hits']:.2f}" if lru is not None and reuse is not None and lru["hits"] else "-",
        number(lru, "puts"),
        number(reuse, "puts"),
        _ratio(reuse["puts"], lru["puts"]) if lru is not None and reuse is not None else "-",
        number(reuse, "declined"),
    ]


def markdown(study: Study, environment: Sequence[str], unbounded_hits: int, matrix: Sequence[Record],
             checks: Sequence[Record], tiered: Sequence[Record], large: Record) -> str:
    """The whole report."""
    def replays(records: Sequence[Record]) -> list[str]:
        return _table(HEADINGS, [row(record, study.references) for record in records])

    lines = ["# Trace replay", "", "![Blocks hit by pool size](trace.svg)", "",
             "![Blocks written by pool size](writes.svg)", ""]
    lines += [f"- {line}" for line in environment]
    lines += ["", "## What is possible", ""] + [f"- {line}" for line in bounds_lines(study, unbounded_hits)]
    lines += ["", "## Every policy, every pool size", "", *replays(matrix), ""]
    lines += [f"- {line}" for line in MEANING]
    if tiered:
        lines += ["", f"## Behind a tier of {study.plan.tier_percent:g} % in memory", ""]
        lines += [*_table(TIER_HEADINGS, tier_rows(tiered, study.references)), ""]
        lines += [f"- {line}" for line in TIER_MEANING]
    lines += ["", "## One replay with larger chunks", "", f"Chunks of {large['chunk_bytes']:,} bytes.", ""]
    lines += replays([large])
    lines += ["", "## Exact check", "", "Block by block in memory, where nothing is left to the timing of transfers; "
              "hits, stored blocks, puts, evictions and what was declined have to be equal.", ""]
    lines += [f"- {exact_line(record)}" for record in checks]
    return "\n".join(lines) + "\n"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = ["| " + " | ".join(headings) + " |", "|" + " ---: |" * len(headings)]
    return head + ["| " + " | ".join(cells) + " |" for cells in rows]


def _rate(blocks: int, references: int) -> str:
    return f"{100 * blocks / references:.2f}"


def _ratio(blocks: int, of: Optional[int]) -> str:
    return f"{blocks / of:.3f}" if of else "-"
