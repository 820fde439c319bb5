"""One point of a curve, in its own process: ``LOAD CORE``, a `Load` as JSON and the core to run on;
stdout is a `Point`."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from streams.core import kernels
from streams.core.errors import CommandError
from streams.core.settings import Settings
from streams.dev.bench.children import output_of
from streams.dev.bench.curves.engine import engine, settings_alone
from streams.dev.bench.curves.load import Load, LoadedSeries, Loader

MINUTE_MS = 60_000
ROUNDS = 3
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)
_BOUNDS = {
    # so that nothing closes in between
    "MAX_LIVE_WINDOWS": "20000000",
    "MAX_IDS": "300000000",
    "IDLE_CLOSE_S": "3600",
}


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """``cpu_us_per_event`` has the in-memory broker in it, and is the least of `ROUNDS`, which other
    load disturbed least. ``state_mib`` is the growth of resident memory while the state was built,
    in ``preload_s``. Of several processes, the figures are those of the worst. ``kernels``: they
    were compiled, as in a worker."""

    load: Load
    cpu_us_per_event: float
    state_mib: int
    preload_s: float
    kernels: bool = False


async def measure_point(asked: Load, limit_s: float) -> Point | None:
    """None on a timeout. Processes start together, each on a core of its own. Raises `CommandError`
    when one fails."""
    cores = sorted(os.sched_getaffinity(0))
    children = (_child(asked, core, limit_s) for core in cores[: asked.processes])
    found = await asyncio.gather(*children, return_exceptions=True)
    points: list[Point] = []
    for one in found:
        if isinstance(one, TimeoutError):
            return None
        if isinstance(one, BaseException):
            raise one
        points.append(one)
    return _worst(points)


async def _child(asked: Load, core: int, limit_s: float) -> Point:
    program = (sys.executable, "-m", "streams.dev.bench.curves.point")
    argument = msgspec.json.encode(asked).decode()
    output = await output_of("a point of a curve", *program, argument, str(core), limit_s=limit_s)
    return msgspec.json.decode(output, type=Point)


def _worst(points: Sequence[Point]) -> Point:
    return msgspec.structs.replace(
        points[0],
        cpu_us_per_event=max(point.cpu_us_per_event for point in points),
        state_mib=max(point.state_mib for point in points),
        preload_s=max(point.preload_s for point in points),
    )


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
        spent_s = min([await running.run(series.any_of_them(asked.events)) for _ in range(ROUNDS)])
    if loader.events != ROUNDS * asked.events:
        raise CommandError(
            f"only {loader.events:,} of {ROUNDS * asked.events:,} events were good ones."
        )
    return Point(
        load=asked,
        cpu_us_per_event=round(spent_s / asked.events * 1e6, 2),
        state_mib=max(0, state_mib),
        preload_s=round(preload_s, 1),
        kernels=kernels.active is not None,
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
    os.sched_setaffinity(0, {int(argv[1])})
    with settings_alone(_BOUNDS) as (settings, folder):
        found = asyncio.run(_measure(asked, settings, folder))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
