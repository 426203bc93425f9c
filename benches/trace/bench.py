"""`make bench-trace`: replays a trace through the library with every eviction policy and several pool sizes.

Needs the replay program, which scripts/bench-trace.sh builds. Exit status 0: all bytes were right, no policy hit more
than is possible, and the exact checks agreed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from pathlib import Path
from typing import NoReturn, Sequence

import blocks
import pictures
import report
from policies import POLICIES
from runner import RunError, Runner
from study import COMPARED, VARIANTS, Plan, Record, Study

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_TRACE = _REPOSITORY / "benches/data/conversation.blocks"
_PERCENTS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0)
# Up to here the exact check is cheap.
_CHECK_PERCENT_MAX = 25.0


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupted)
    arguments = _arguments()
    try:
        return _run(arguments)
    except (RunError, blocks.TraceError, OSError) as error:
        print(f"bench-trace: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench-trace: interrupted; the stores are removed", file=sys.stderr)
        return 130


def _interrupted(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", type=Path, required=True, help="the replay program")
    parser.add_argument("--out", type=Path, required=True,
                        help="folder for trace.json, trace.md, trace.svg and writes.svg")
    parser.add_argument("--trace", type=Path, default=Path(os.environ.get("BENCH_TRACE") or _TRACE),
                        help="block trace or Mooncake JSON lines; $BENCH_TRACE, else the one checked in")
    parser.add_argument("--dir", type=Path, default=os.environ.get("BENCH_DIR"),
                        help="folder to make the stores in; $BENCH_DIR, else below --out")
    parser.add_argument("--chunk-bytes", type=_bytes, default=os.environ.get("TRACE_CHUNK_BYTES") or "65536",
                        help="bytes of a chunk; $TRACE_CHUNK_BYTES, else 65536")
    parser.add_argument("--percents", type=_percent, nargs="+", default=_PERCENTS,
                        help="pool sizes in percent of the distinct blocks")
    parser.add_argument("--policies", nargs="+", choices=list(POLICIES), default=list(POLICIES),
                        help="REUSE is replayed with its default quantile and with 0.8")
    parser.add_argument("--tier-percent", type=_percent_or_none, default=5.0,
                        help="blocks of the tier in front, in percent of the distinct blocks; 0: no replay behind one")
    return parser.parse_args()


def _bytes(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= 1 << 28:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes from 1 to {1 << 28}")
    return value


def _percent(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage above 0 and up to 100")
    return value


def _percent_or_none(text: str) -> float:
    return 0.0 if text == "0" else _percent(text)


def _run(arguments: argparse.Namespace) -> int:
    requests = blocks.read(arguments.trace)
    folder = Path(arguments.dir or arguments.out / "trace").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    compact = arguments.out / "trace.blocks"
    compact.write_text("".join(blocks.write(requests)), encoding="utf-8")

    percents = sorted(set(arguments.percents))
    middle = min(percents, key=lambda percent: abs(percent - 10))
    plan = Plan(
        percents,
        [variant for variant in VARIANTS if variant.policy in arguments.policies],
        arguments.chunk_bytes,
        check_percents=[percent for percent in percents if percent <= _CHECK_PERCENT_MAX] or [middle],
        check_percent=middle,
        tier_percent=arguments.tier_percent,
        large_percent=middle,
        large_chunk_bytes=4 * arguments.chunk_bytes,
    )
    runner = Runner(arguments.replay, compact, folder)
    study = Study(requests, runner, plan)
    runner.check_space(study.largest())
    unbounded_hits = study.unbounded_hits()
    print(f"Trace {arguments.trace}: {_size_of(study)}")
    print(*report.bounds_lines(study, unbounded_hits), sep="\n")

    print("\nExact check: block by block in memory, against a simulation of the policy", flush=True)
    checks = study.exact_checks(_print_exact)
    if plan.tier_percent and any(variant in COMPARED for variant in plan.variants):
        print(f"\nBehind a tier of {plan.tier_percent:g} % in memory, checked as exactly", flush=True)
    tiered = study.behind_tier(_print_exact)
    for cells in report.tier_rows(tiered, study.references):
        print("  " + ", ".join(f"{name} {cell}" for name, cell in zip(report.TIER_HEADINGS, cells)))
    print(f"\nEvery policy, every pool size, chunks of {plan.chunk_bytes:,} bytes, stores in {folder}")
    print(report.terminal_line(report.HEADINGS), flush=True)
    matrix = study.matrix(lambda record: _print_row(record, study))
    print(f"\nOne replay with chunks of {plan.large_chunk_bytes:,} bytes")
    large = study.large()
    _print_row(large, study)
    print("\n" + "\n".join(report.MEANING))

    environment = _environment(arguments.trace, study, matrix[0])
    _write(arguments.out, study, environment, unbounded_hits, matrix, checks, tiered, large)
    print(f"\nWritten: {arguments.out}/trace.json, trace.md, trace.svg, writes.svg")
    return 0


def _print_exact(record: Record) -> None:
    print("  " + report.exact_line(record), flush=True)


def _print_row(record: Record, study: Study) -> None:
    print(report.terminal_line(report.row(record, study.references)), flush=True)


def _size_of(study: Study) -> str:
    return f"{len(study.requests):,} requests, {study.references:,} block references, {study.distinct:,} distinct"


def _environment(trace: Path, study: Study, record: Record) -> list[str]:
    measured = record["measured"]
    direct = "O_DIRECT" if measured["direct_io"] else "page cache"
    return [
        f"trace {trace.name}: {_size_of(study)}",
        f"store: {measured['backend']} through {measured['io_path']}, {direct}, {measured['io_threads']} I/O threads, "
        f"static pool, chunks of {study.plan.chunk_bytes:,} bytes",
        f"machine: {platform.machine()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "requests are served one after the other, each as soon as the one before it is done; stored blocks are not put "
        "again (NIXL_STORE_ITEM_KEEP); every byte that comes back is compared",
    ]


def _write(out: Path, study: Study, environment: list[str], unbounded_hits: int, matrix: Sequence[Record],
           checks: Sequence[Record], tiered: Sequence[Record], large: Record) -> None:
    document = {
        "environment": environment,
        "requests": len(study.requests),
        "blocks_referenced": study.references,
        "blocks_distinct": study.distinct,
        "unbounded_hits": unbounded_hits,
        "bounds": [study.bound(percent) for percent in study.plan.percents],
        "replays": list(matrix),
        "replay_with_large_chunks": large,
        "exact_checks": list(checks),
        "behind_tier": list(tiered),
    }
    (out / "trace.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    text = report.markdown(study, environment, unbounded_hits, matrix, checks, tiered, large)
    (out / "trace.md").write_text(text, encoding="utf-8")
    subtitle = _size_of(study)
    (out / "trace.svg").write_text(pictures.hits(study, subtitle, unbounded_hits, matrix), encoding="utf-8")
    (out / "writes.svg").write_text(pictures.writes(study, subtitle, matrix), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
