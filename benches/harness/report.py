"""Files that a run leaves behind: the table in Markdown, everything in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

from harness.context import Context
from harness.table import markdown_table

FILES = ("report.md", "result.json")


def facts_text(facts: Dict[str, Any]) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in facts["peers"].items()) or "none"
    return (
        f"nixl-store {facts['nixl_store']}, {facts['date']}, {facts['rounds']} rounds, {facts['wall_s']:.0f} s\n\n"
        f"- {facts['cpus']} CPUs, {facts['cpu']}, {facts['memory_bytes'] / (1 << 30):.0f} GiB, Linux {facts['kernel']}\n"
        f"- disk: {facts['disk']}; tmpfs: {facts['tmpfs']}\n"
        f"- peers: {peers}\n"
    )


def notes_text(context: Context) -> str:
    lines = [
        f"- fio on {place}, {operation}, blocks up to {largest >> 10} KiB: best was {setting}"
        for (place, operation, largest), setting in sorted(context.fio_settings.items())
    ]
    return "\n".join(lines) + ("\n" if lines else "")


def write(out: Path, context: Context, facts: Dict[str, Any]) -> None:
    parts = ["# Benchmark\n", facts_text(facts), markdown_table(context.rows) + "\n"]
    notes = notes_text(context)
    (out / "report.md").write_text("\n".join([*parts, notes] if notes else parts), encoding="utf-8")
    result = {"facts": facts, "details": context.details, "rows": [row.as_json() for row in context.rows]}
    (out / "result.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
