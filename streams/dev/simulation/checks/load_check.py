"""The load history at a quiet moment: each record that was read is in one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streams.connect.sinks.memory_replica import Row
from streams.core.rows.operational_tables import LOAD_HISTORY
from streams.dev.simulation.world import Difference
from streams.engine.state.changelog import Link


def check_load(rows: Iterable[Row], links: Mapping[int, Link]) -> None:
    """``rows``: of `LOAD_HISTORY`, of one topic. ``links``: the last one of each partition, whose run
    may have no row yet. Raises `Difference`."""
    shown = [*rows]
    for part, link in links.items():
        live, counters = link.load, link.counters
        ended = sum(
            row["events"]
            for row in shown
            if (row["part"], row["epoch"]) == (part, link.epoch)
            and row["from_offset"] != live.from_offset
        )
        read = counters.read - counters.shed
        if ended + live.events != read:
            raise Difference(
                f"{LOAD_HISTORY.name} has {ended} events of partition {part} in ended runs, the run in "
                f"progress {live.events}, and {read} were read"
            )
