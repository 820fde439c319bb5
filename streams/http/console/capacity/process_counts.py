"""How many worker processes of all hosts did work in each five minutes of a day, from ``usage_history``: pods that an
autoscaler adds and ends show here without its log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from streams.engine.health.host_scaling import CHANGES_MAX
from streams.engine.state.load_run import SLOT_MS
from streams.http.console.shards import Rows

SPAN_S: Final = 86_400
_SLOT_S: Final = SLOT_MS // 1000

LIFETIMES: Final = """
SELECT process, toUnixTimestamp(started) AS began, toUnixTimestamp(min(w)), toUnixTimestamp(max(w))
FROM usage_history_local
WHERE toUnixTimestamp(w) >= {since:Int64}
GROUP BY process, began
"""
BEHIND: Final = """
SELECT toUnixTimestamp(w) AS at, max(behind_s)
FROM usage_history_local
WHERE toUnixTimestamp(w) >= {since:Int64}
GROUP BY at
"""


def process_counts(lifetimes: Rows, behind: Rows, now_s: int) -> dict[str, Any] | None:
    """``processes`` of the last whole five minutes, and the newest `CHANGES_MAX` ``changes`` of their number, newest
    first; None without a sample. A process counts from its first sample to its last one, whichever shards hold
    them. The five minutes that run are left out: processes sample at their first commit in them."""
    lives: dict[tuple[str, int], tuple[int, int]] = {}
    for process, began, first, last in lifetimes:
        known = lives.get((process, began), (first, last))
        lives[process, began] = min(first, known[0]), max(last, known[1])
    end_s = now_s // _SLOT_S * _SLOT_S
    counts = dict(_counts(lives, end_s))
    if not counts:
        return None
    largest: dict[int, float] = {}
    for at, seconds in behind:
        largest[at] = max(seconds, largest.get(at, 0.0))
    changes = [
        _change(at, counts[before], counts[at], largest)
        for before, at in pairwise(counts)
        if counts[before] != counts[at]
    ]
    return {"processes": counts[end_s - _SLOT_S], "changes": changes[: -CHANGES_MAX - 1 : -1]}


def _counts(
    lives: Mapping[tuple[str, int], tuple[int, int]], end_s: int
) -> Iterator[tuple[int, int]]:
    """Of each interval from the first sample on, to the one that ends at ``end_s``."""
    edges: dict[int, int] = {}
    for first, last in lives.values():
        edges[first] = edges.get(first, 0) + 1
        edges[last + _SLOT_S] = edges.get(last + _SLOT_S, 0) - 1
    running = 0
    for at in range(min(edges, default=end_s), end_s, _SLOT_S):
        running += edges.get(at, 0)
        yield at, running


def _change(at: int, before: int, after: int, behind: Mapping[int, float]) -> dict[str, Any]:
    """An autoscaler's reason is not known here; what it may have seen is."""
    seconds = max(behind.get(at - _SLOT_S, 0.0), behind.get(at, 0.0))
    return {
        "at_ms": 1000 * at,
        "before": before,
        "after": after,
        "why": f"up to {seconds:.1f} s behind",
    }
