"""Part two: what each adapter serves after something went wrong.

Usage: drill.py <directory>

A cache may always miss. It must never serve wrong bytes, for an engine goes on computing from them. Each fault is
tried on each adapter in processes and directories of its own; what is printed is what was seen. The exit code is 1 if
one of nixl-store's adapters served wrong bytes, or missed where nothing was wrong.
"""

from __future__ import annotations

import collections
import os
import shutil
import signal
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import adapters
import faults
import processes
from session import ERROR, MISS, RIGHT, WRONG, Session

KEYS = 8
Cells = Dict[str, str]


class Row(NamedTuple):
    """A fault, and what is to be seen of it."""

    title: str
    labels: Tuple[str, ...]
    """Of the lines; one line without a label stands beside the title."""
    attempt: Callable[[adapters.Adapter, adapters.Place], Cells]
    must_hit: bool = False
    """Whether a miss is a fault of the adapter's."""


class Failed(Exception):
    """A step that had to work did not."""


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Runs a step in a process of its own and gives its answer."""
    outcome = processes.run(function, *arguments, log=log_path())
    if outcome.error:
        raise Failed(outcome.error)
    return outcome.answer


def log_path() -> str:
    """Where the processes' own output goes."""
    return os.path.join(os.environ.get("DEMO_OUT", "."), "drill.log")


# ---- Steps, each in a process ----


def store_all(adapter: adapters.Adapter, place: adapters.Place) -> None:
    """Stores every chunk and closes."""
    session = Session(adapter, place)
    if not session.store(range(place.keys)):
        raise Failed("a plain store failed")
    session.close()


def serve_all(adapter: adapters.Adapter, place: adapters.Place) -> List[str]:
    """Opens on what is there and serves every chunk."""
    session = Session(adapter, place)
    verdicts = session.serve(range(place.keys))
    session.close()
    return verdicts


def store_and_serve(adapter: adapters.Adapter, place: adapters.Place, fault: Any) -> Tuple[int, List[str]]:
    """Stores every chunk, lets the fault happen, and serves from the same process."""
    session = Session(adapter, place)
    if not session.store(range(place.keys)):
        raise Failed("a plain store failed")
    chunk = fault(place) if fault else -1
    verdicts = session.serve(range(place.keys))
    session.close()
    return chunk, verdicts


def store_half_way(adapter: adapters.Adapter, place: adapters.Place, again: bool) -> List[str]:
    """Stores while writes fail, perhaps once more when they do not, then serves from the same process."""
    session = Session(adapter, place)
    faults.limit_files(place)
    succeeded = session.store(range(place.keys))
    faults.lift_limit()
    if succeeded:
        raise Failed("the store was to fail and did not")
    if again:
        session.store(range(place.keys))
    verdicts = session.serve(range(place.keys))
    session.close()
    return verdicts


def store_until_killed(adapter: adapters.Adapter, place: adapters.Place) -> None:
    """Stores one half, then is killed while it stores the other."""
    session = Session(adapter, place)
    if not session.store(range(place.keys // 2)):
        raise Failed("a plain store failed")
    session.submit_store(range(place.keys // 2, place.keys))
    time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


# ---- Rows of the table ----


def summary(verdicts: List[str]) -> str:
    """Verdicts on some chunks in few words. What is not named was a miss."""
    count = collections.Counter(verdicts)
    if count[WRONG]:
        return "WRONG BYTES" if len(verdicts) == 1 else f"{count[WRONG]} WRONG"
    if count[ERROR]:
        return ERROR
    if len(verdicts) == 1:
        return verdicts[0]
    if count[RIGHT] == len(verdicts):
        return "all right"
    if count[MISS] == len(verdicts):
        return "all missed"
    return f"{count[RIGHT]} of {len(verdicts)} right"


def damaged(chunk: int, verdicts: List[str]) -> Cells:
    """The chunk that was damaged, and the others."""
    return {"that chunk": summary([verdicts[chunk]]), "the others": summary(verdicts[:chunk] + verdicts[chunk + 1 :])}


def nothing(adapter: adapters.Adapter, place: adapters.Place) -> Cells:
    """For comparison, and to show that a hit is a hit."""
    return {"": summary(in_process(store_and_serve, adapter, place, None)[1])}


def restarted(adapter: adapters.Adapter, place: adapters.Place) -> Cells:
    """A new process opens what another one stored and closed."""
    in_process(store_all, adapter, place)
    return {"": summary(in_process(serve_all, adapter, place))}


def live(fault: Callable[[adapters.Place], int]) -> Callable[[adapters.Adapter, adapters.Place], Cells]:
    """The fault happens while the adapter is open."""
    return lambda adapter, place: damaged(*in_process(store_and_serve, adapter, place, fault))


def between(fault: Callable[[adapters.Place], int]) -> Callable[[adapters.Adapter, adapters.Place], Cells]:
    """The fault happens between two processes."""

    def row(adapter: adapters.Adapter, place: adapters.Place) -> Cells:
        in_process(store_all, adapter, place)
        chunk = fault(place)
        return damaged(chunk, in_process(serve_all, adapter, place))

    return row


def half_way(adapter: adapters.Adapter, place: adapters.Place) -> Cells:
    """A store that fails in the middle, seen from its own process, from the next, and from one that tries once more."""
    first = summary(in_process(store_half_way, adapter, place, False))
    second = summary(in_process(serve_all, adapter, place))
    third = summary(in_process(store_half_way, adapter, place, True))
    return {"same process": first, "after a restart": second, "stored once more": third}


def killed(adapter: adapters.Adapter, place: adapters.Place) -> Cells:
    """Killed in the middle of a store; a new process serves."""
    try:
        in_process(store_until_killed, adapter, place)
    except Failed as end:
        if f"ended with {-signal.SIGKILL}" not in str(end):
            raise
    verdicts = in_process(serve_all, adapter, place)
    half = place.keys // 2
    return {"stored before": summary(verdicts[:half]), "being stored": summary(verdicts[half:])}


DAMAGE = ("that chunk", "the others")
ROWS: List[Row] = [
    Row("nothing wrong", ("",), nothing, must_hit=True),
    Row("process restarted", ("",), restarted, must_hit=True),
    Row("a bit flipped", DAMAGE, live(faults.flip_a_bit)),
    Row("a bit flipped, then a restart", DAMAGE, between(faults.flip_a_bit)),
    Row("a file cut short", DAMAGE, live(faults.cut_short)),
    Row("a file cut short, then a restart", DAMAGE, between(faults.cut_short)),
    Row("a store that failed half way", ("same process", "after a restart", "stored once more"), half_way),
    Row("killed in the middle of a store", ("stored before", "being stored"), killed),
]


def try_row(row: Row, adapter: adapters.Adapter, parent: str) -> Cells:
    """One fault on one adapter, in a directory that is gone afterwards."""
    folder = tempfile.mkdtemp(prefix="drill.", dir=parent)
    try:
        return row.attempt(adapter, adapters.Place(folder, True, KEYS, adapters.MIB, spare=KEYS))
    except (Failed, LookupError, OSError) as error:
        with open(log_path(), "a") as log:
            print(f"{row.title}, {adapter.name}: {error}", file=log)
        return {label: ERROR for label in row.labels}
    finally:
        shutil.rmtree(folder)


def line(label: str, cells: List[str]) -> None:
    """One line of the table."""
    print(("  " + label.ljust(20) + "".join(cell.ljust(14) for cell in cells)).rstrip())


def show(row: Row, answers: List[Cells]) -> None:
    """One fault's lines."""
    if row.labels != ("",):
        print(f"  {row.title}")
    for label in row.labels:
        line(f"  {label}" if label else row.title, [cells[label] for cells in answers])


def main() -> int:
    """Goes through all faults and adapters."""
    # So that what is being done is undone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    compared = adapters.chosen()
    adapters.load()
    print(f"  {KEYS} chunks of 1 MiB are stored, something happens, they are loaded and compared.\n")
    for part in (0, 1):
        line("", [adapter.short[part] for adapter in compared])
    print()
    good = True
    wrong: Dict[str, int] = collections.Counter()
    for row in ROWS:
        answers = [try_row(row, adapter, os.path.abspath(sys.argv[1])) for adapter in compared]
        show(row, answers)
        for adapter, cells in zip(compared, answers):
            bad = sum("WRONG" in cell for cell in cells.values())
            wrong[adapter.name] += bad
            if adapter.ours:
                good = good and not bad and ERROR not in cells.values()
                good = good and (not row.must_hit or set(cells.values()) == {"all right"})
    print()
    for adapter in compared:
        print(f"  {adapter.name}: wrong bytes served in {wrong[adapter.name]} of these lines")
    if not good:
        print("\n  NOT as it should be: nixl-store served wrong bytes, failed, or missed what was sound.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
