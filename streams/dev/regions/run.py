"""A drill of a lost region on two stacks of its own, which are stopped in the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agents.app import app
from streams.core.clock import SystemClock
from streams.dev.local.preparation import prepare
from streams.dev.local.regions import write_regions
from streams.dev.local.stack import down, up
from streams.dev.regions.local_region import LocalRegion
from streams.dev.regions.region_drill import RegionDrill, RegionDrillResult

LOST, OTHER = "east", "west"
_SHARDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionDrillOptions:
    """``home``: an empty folder. ``lease_s``: that of ``regions.toml``, a part of the RTO."""

    home: Path
    events: int = 10_000
    rate_per_s: int = 500
    untaken: int = 500
    lease_s: float = 30.0
    seed: int = 1


def run(options: RegionDrillOptions, say: Callable[[str], None]) -> RegionDrillResult:
    """Raises `DependencyUnreachable` when a stack cannot start, and `CommandError` when a step fails
    or does not end."""
    homes = {name: options.home / name for name in (LOST, OTHER)}
    try:
        stacks = {
            name: up(home, _SHARDS, say, owner_pid=os.getpid()) for name, home in homes.items()
        }
        file = options.home / "regions.toml"
        write_regions(file, options.lease_s, stacks)
        lost, other = (
            LocalRegion(name, stacks[name], homes[name], file, {}) for name in (LOST, OTHER)
        )
        try:
            return asyncio.run(_drilled(lost, other, options, say))
        finally:
            lost.end()
            other.end()
    finally:
        for home in homes.values():
            down(home, say)


async def _drilled(
    lost: LocalRegion,
    other: LocalRegion,
    options: RegionDrillOptions,
    say: Callable[[str], None],
) -> RegionDrillResult:
    for region in (lost, other):
        await prepare(region.settings, app.topology, region.broker, say)
    drill = RegionDrill(
        lost,
        other,
        SystemClock(),
        say,
        events=options.events,
        rate_per_s=options.rate_per_s,
        untaken=options.untaken,
        seed=options.seed,
    )
    return await drill.run()
