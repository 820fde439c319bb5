"""One point of a curve, in its own process: ``LOAD`` is a `Load` as JSON; stdout is a `Point`."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from streams.core.errors import CommandError
from streams.core.settings import Settings
from streams.dev.bench.children import output_of
from streams.dev.bench.curves.engine import engine, settings_alone
from streams.dev.bench.curves.load import Load, LoadedSeries, Loader

MINUTE_MS = 60_000
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)
_BOUNDS = {
    # so that nothing closes in between
    "MAX_LIVE_WINDOWS": "20000000",
    "MAX_IDS": "300000000",
    "IDLE_CLOSE_S": "3600",
}


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """``cpu_us_per_event`` has the in-memory broker in it. ``state_mib`` is the growth of resident
    memory while the state was built, in ``preload_s``."""

    load: Load
    cpu_us_per_event: float
    state_mib: int
    preload_s: float


async def measure_point(asked: Load, limit_s: float) -> Point | None:
    """None on a timeout. Raises `CommandError` when it fails."""
    program = (sys.executable, "-m", "streams.dev.bench.curves.point")
    argument = msgspec.json.encode(asked).decode()
    try:
        output = await output_of("a point of a curve", *program, argument, limit_s=limit_s)
    except TimeoutError:
        return None
    return msgspec.json.decode(output, type=Point)


async def _measure(asked: Load, settings: Settings, folder: Path) -> Point:
    loader = Loader()
    series = LoadedSeries(asked, int(time.time() * 1000) // MINUTE_MS * MINUTE_MS)
    async with engine(settings, loader.agent(), asked.partitions, folder) as running:
        began_s, before_mib = time.monotonic(), resident_mib()
        loader.mode = "ids"
        await running.build(series.ids())
        loader.mode = "windows"
        await running.build(series.each_once())
        loader.mode = "usual"
        preload_s, state_mib = time.monotonic() - began_s, resident_mib() - before_mib
        spent_s = await running.run(series.any_of_them(asked.events))
    if loader.events != asked.events:
        raise CommandError(f"only {loader.events:,} of {asked.events:,} events were good ones.")
    return Point(
        load=asked,
        cpu_us_per_event=round(spent_s / asked.events * 1e6, 2),
        state_mib=max(0, state_mib),
        preload_s=round(preload_s, 1),
    )


def resident_mib() -> int:
    """After freed memory is returned."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    found = _RESIDENT.search(Path("/proc/self/status").read_text())
    return int(found.group(1)) // 1024 if found else 0


def main(argv: Sequence[str]) -> None:
    asked = msgspec.json.decode(argv[0], type=Load)
    with settings_alone(_BOUNDS) as (settings, folder):
        found = asyncio.run(_measure(asked, settings, folder))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
