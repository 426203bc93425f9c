"""Which measurement a case asks for."""

from __future__ import annotations

from typing import List

from cases import Case, Latency, Library, Lookups, ObjectStore, Opening, Throughput
from harness.context import Context
from harness.latency import LatencyRun
from harness.library import measure_library
from harness.lookups import measure_lookups
from harness.object_store import ObjectStoreRun
from harness.opening import measure_opening
from harness.rows import Row
from harness.throughput import ThroughputRun
from harness.workers import WorkerError


def measure(case: Case, context: Context) -> List[Row]:
    """The rows of one case; a case that fails as a whole is one row that says so."""
    try:
        if isinstance(case, Throughput):
            return ThroughputRun(case, context).run()
        if isinstance(case, ObjectStore):
            return ObjectStoreRun(case, context).run()
        if isinstance(case, Latency):
            return LatencyRun(case, context).run()
        if isinstance(case, Lookups):
            return measure_lookups(case, context)
        if isinstance(case, Opening):
            return measure_opening(case, context)
        assert isinstance(case, Library)
        return measure_library(case, context)
    except (WorkerError, OSError) as error:
        return [Row(case.title, "", "", None, note=f"FAILED: {error}")]
