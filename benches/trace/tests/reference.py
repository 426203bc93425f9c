"""LRU and REUSE once more, as a reader would do them with pencil and paper: one table of what is stored, searched from
end to end. Slow, and written without a look at the simulations, which are compared with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

import context  # noqa: F401
from ghosts import tag_of
from policies import Outcome


@dataclass
class _Stored:
    base: int
    last: int
    again: bool


def lru(requests: Sequence[Sequence[int]], slots: int) -> Outcome:
    stored: dict[int, _Stored] = {}
    outcome = Outcome()
    clock = 0
    for chain in requests:
        base, clock = clock, clock + len(chain)
        matched = _prefix(chain, stored, outcome)
        for place, block in enumerate(chain):
            now = base + chain.index(block) + 1
            if block in stored:
                if stored[block].last <= base:
                    stored[block] = _Stored(base, now, False)
                continue
            assert place >= matched
            if len(stored) == slots:
                del stored[min(stored, key=lambda one: (stored[one].base, -stored[one].last))]
                outcome.evictions += 1
            stored[block] = _Stored(base, now, False)
            outcome.puts += 1
    return outcome


def reuse(requests: Sequence[Sequence[int]], slots: int, quantile: float, entries: int) -> Outcome:
    stored: dict[int, _Stored] = {}
    sets = max(1, (slots * entries + 7) // 8)
    ghosts: list[list[list[int]]] = [[] for _ in range(sets)]  # [tag, clock]
    outcome = Outcome()
    clock = 0
    tau = max(16.0, slots / 2)

    def moved(gap: int) -> float:
        factor = (1 + 0.002 * quantile) if gap > tau else (1 - 0.002 * (1 - quantile))
        return max(16.0, tau * factor)

    def ghost_set(tag: int) -> list[list[int]]:
        return ghosts[tag * sets // 2**32]

    def ghost_put(tag: int, time: int) -> None:
        if entries == 0:
            return
        mine = ghost_set(tag)
        kept = [one for one in mine if one[0] != tag]
        if len(kept) == 8:
            kept.remove(min(kept, key=lambda one: one[1]))
        mine[:] = [*kept, [tag, time]]

    for chain in requests:
        base, clock = clock, clock + len(chain)
        declined = False
        _prefix(chain, stored, outcome)
        for block in chain:
            now = base + chain.index(block) + 1
            if block in stored:
                if stored[block].last <= base:
                    tau = moved(now - stored[block].last)
                    stored[block] = _Stored(base, now, True)
                continue
            tag = tag_of(block)
            found = [one[1] for one in ghost_set(tag) if one[0] == tag]
            own = bool(found) and found[0] > base
            due, returns = tau, bool(found) and not own
            if returns:
                tau = moved(now - found[0])
                due = min(now - found[0], tau) / 2
            victim: Optional[int] = None
            if len(stored) == slots:
                victim = _victim(stored, chain, base, now)
                if declined or victim is None or _idle(stored[victim], now) < due:
                    declined = True
                    outcome.declined += 1
                    if not own:
                        ghost_put(tag, now)
                    continue
            ghost_set(tag)[:] = [one for one in ghost_set(tag) if one[0] != tag]
            if victim is not None:
                ghost_put(tag_of(victim), stored.pop(victim).last)
                outcome.evictions += 1
            stored[block] = _Stored(base, now, returns)
            outcome.puts += 1
    return outcome


def _prefix(chain: Sequence[int], stored: dict[int, _Stored], outcome: Outcome) -> int:
    matched = 0
    while matched < len(chain) and chain[matched] in stored:
        matched += 1
    outcome.hits += matched
    outcome.block_hits += sum(block in stored for block in chain)
    return matched


def _idle(one: _Stored, now: int) -> float:
    return (now - one.last) / (2 if one.again else 1)


def _victim(stored: dict[int, _Stored], chain: Sequence[int], base: int, now: int) -> Optional[int]:
    lines = [
        sorted((block for block, one in stored.items() if one.again is again and one.last <= base),
               key=lambda block: (stored[block].base, -stored[block].last))
        for again in (False, True)
    ]
    passed_over = 0
    while any(lines) and passed_over < 64:
        heads = [line for line in lines if line]
        line = heads[0]
        if len(heads) == 2 and _idle(stored[heads[1][0]], now) > _idle(stored[heads[0][0]], now):
            line = heads[1]
        if line[0] not in chain:
            return line[0]
        line.pop(0)
        passed_over += 1
    return None
