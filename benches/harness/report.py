"""Files that a run leaves behind: the table in Markdown, everything in JSON, the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

from cases import Case
from harness.context import Context
from harness.picture import draw
from harness.table import markdown_table

FILES = ("report.md", "result.json", "throughput.svg")


def facts_text(facts: Dict[str, Any]) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in facts["peers"].items()) or "none"
    return (
        f"nixl-store {facts['nixl_store']}, {facts['date']}, {facts['rounds']} rounds, {facts['wall_s']:.0f} s\n\n"
        f"- {facts['cpus']} CPUs, {facts['cpu']}, {facts['memory_bytes'] / (1 << 30):.0f} GiB\n"
        f"- Linux {facts['kernel']}\n"
        f"- disk: {facts['disk']}; tmpfs: {facts['tmpfs']}\n"
        f"- peers: {peers}\n"
    )


def notes_text(context: Context) -> str:
    lines = [
        f"- fio on {place}, {operation}, blocks up to {largest >> 10} KiB: best was {setting}"
        for (place, operation, largest), setting in sorted(context.fio_settings.items())
    ]
    return "\n".join(lines) + ("\n" if lines else "")


def write(out: Path, context: Context, facts: Dict[str, Any], cases: Sequence[Case]) -> List[Path]:
    """Returns what was written."""
    parts = ["# Benchmark\n", facts_text(facts), markdown_table(context.rows) + "\n"]
    notes = notes_text(context)
    (out / "report.md").write_text("\n".join([*parts, notes] if notes else parts), encoding="utf-8")
    result = {"facts": facts, "details": context.details, "rows": [row.as_json() for row in context.rows]}
    (out / "result.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    picture = draw(cases, context.rows)
    if picture is None:
        # One of an earlier run would pass for this one's.
        (out / "throughput.svg").unlink(missing_ok=True)
    else:
        (out / "throughput.svg").write_text(picture, encoding="utf-8")
    return [out / name for name in FILES if (out / name).exists()]
