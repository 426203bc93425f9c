"""Traces of other kinds than the one that is checked in, made from a seed.

Run as a program it prints what LRU and REUSE make of each, `size` times as large as the tests have them:

    python3 benches/trace/tests/workloads.py 4
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
from typing import Callable, Iterator, Sequence

import context  # noqa: F401
from policies import Variant, simulate

Trace = list[list[int]]


class _Ids:
    """Blocks that no other request has."""

    def __init__(self) -> None:
        self._next = itertools.count()

    def take(self, count: int) -> list[int]:
        return list(itertools.islice(self._next, count))


def chats(generator: random.Random, requests: int, ids: _Ids, systems: int = 1, think: float = 60.0,
          turns: float = 4.0) -> Trace:
    """Chats of several turns, each with all before it, after think times; some share a system prompt."""
    prompts = [ids.take(generator.randrange(2, 10)) for _ in range(systems)]
    waiting: list[tuple[float, int, list[int]]] = []  # when the next turn comes, number of the chat, its blocks
    trace: Trace = []
    now, number = 0.0, 0
    while len(trace) < requests:
        now += generator.expovariate(1.0)
        number += 1
        heapq.heappush(waiting, (now, number, list(generator.choice(prompts))))
        while waiting and waiting[0][0] <= now and len(trace) < requests:
            when, chat, chain = heapq.heappop(waiting)
            chain = chain + ids.take(generator.randrange(1, 9))
            trace.append(chain)
            if generator.random() > 1 / turns:
                heapq.heappush(waiting, (when + generator.lognormvariate(0.0, 0.7) * think, chat, chain))
    return trace


def scan_between(generator: random.Random, requests: int, ids: _Ids) -> Trace:
    """Chats, then as many blocks as all of them have, which never return, then the chats go on."""
    trace = chats(generator, requests, ids, systems=5)
    distinct = len({block for chain in trace for block in chain})
    scan = [ids.take(20) for _ in range(distinct // 20)]
    middle = len(trace) // 2
    return trace[:middle] + scan + trace[middle:]


def loop(generator: random.Random, requests: int, ids: _Ids) -> Trace:
    """Prompts one after the other, again and again: larger than most pools."""
    prompts = [ids.take(generator.randrange(10, 30)) for _ in range(max(3, requests // 20))]
    return [prompts[number % len(prompts)] for number in range(requests)]


def change(generator: random.Random, requests: int, ids: _Ids) -> Trace:
    """Short chats with long think times, then long ones with short, then one-time requests with a few documents."""
    return (chats(generator, requests // 3, ids, think=150.0, turns=2.0)
            + chats(generator, requests // 3, ids, think=5.0, turns=12.0)
            + documents(generator, requests // 3, ids, count=20))


def shared_prompts(generator: random.Random, requests: int, ids: _Ids) -> Trace:
    """Agents: a long system prompt of a few, then something that never returns."""
    prompts = [ids.take(generator.randrange(5, 60)) for _ in range(40)]
    weights = [1 / rank for rank in range(1, len(prompts) + 1)]
    return [generator.choices(prompts, weights)[0] + ids.take(generator.randrange(1, 12)) for _ in range(requests)]


def documents(generator: random.Random, requests: int, ids: _Ids, count: int = 0, exponent: float = 1.0) -> Trace:
    """Questions about documents, of which some are far more popular than others (Zipf)."""
    texts = [ids.take(generator.randrange(5, 40)) for _ in range(count or max(10, requests // 3))]
    weights = [rank ** -exponent for rank in range(1, len(texts) + 1)]
    return [generator.choices(texts, weights)[0] + ids.take(1) for _ in range(requests)]


def _mixed(generator: random.Random, requests: int, ids: _Ids) -> Trace:
    """All of the above at once."""
    parts = [make(generator, requests // 4, ids) for make in (chats, loop, shared_prompts, documents)]
    order = [part for part, trace in enumerate(parts) for _ in trace]
    generator.shuffle(order)
    queues = [iter(trace) for trace in parts]
    return [next(queues[part]) for part in order]


WORKLOADS: dict[str, Callable[[random.Random, int, _Ids], Trace]] = {
    "chats": chats,
    "chats, 20 system prompts": lambda generator, requests, ids: chats(generator, requests, ids, systems=20),
    "chats, long think times": lambda generator, requests, ids: chats(generator, requests, ids, think=400.0),
    "chats, short think times": lambda generator, requests, ids: chats(generator, requests, ids, think=5.0),
    "a scan between": scan_between,
    "a loop": loop,
    "a change": change,
    "shared prompts": shared_prompts,
    "documents, Zipf 1.0": documents,
    "documents, Zipf 0.7": lambda generator, requests, ids: documents(generator, requests, ids, exponent=0.7),
    "mixed": _mixed,
}
PERCENTS = (1.0, 3.0, 10.0, 30.0, 60.0)


def scanned(requests: int, percent: float, pools: int = 100, seed: int = 1) -> tuple[Trace, int, int]:
    """Chats, with so many pools' worth of blocks that never return in their middle. Also the slots of such a pool, in
    percent of the chats' blocks, and how many blocks the chats reference."""
    ids = _Ids()
    trace = chats(random.Random(seed), requests, ids, systems=5)
    slots = max(1, round(len({block for chain in trace for block in chain}) * percent / 100))
    scan = [ids.take(20) for _ in range(pools * slots // 20)]
    middle = len(trace) // 2
    return trace[:middle] + scan + trace[middle:], slots, sum(map(len, trace))


def make(name: str, requests: int, seed: int = 1) -> Trace:
    return WORKLOADS[name](random.Random(seed), requests, _Ids())


def compare(trace: Sequence[Sequence[int]]) -> Iterator[tuple[float, float, float, float]]:
    """For each pool size: percent of the distinct blocks, hit rates of LRU and REUSE in percent, REUSE's writes of
    LRU's."""
    references = sum(map(len, trace))
    distinct = len({block for chain in trace for block in chain})
    for percent in PERCENTS:
        slots = max(1, round(distinct * percent / 100))
        lru, reuse = (simulate(trace, Variant(policy), slots) for policy in ("LRU", "REUSE"))
        yield percent, 100 * lru.hits / references, 100 * reuse.hits / references, reuse.puts / max(1, lru.puts)


def main() -> int:
    size = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for name in WORKLOADS:
        for seed in range(1, seeds + 1):
            for percent, lru, reuse, writes in compare(make(name, int(1000 * size), seed)):
                mark = "  below LRU" if reuse < lru - 0.1 else ""
                print(f"{name:26} seed {seed} pool {percent:4g} %: LRU {lru:6.2f} %, REUSE {reuse:6.2f} %, "
                      f"writes {writes:.3f}{mark}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
