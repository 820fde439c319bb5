"""``python -m streams.dev.simulation SEED`` replays one run, with its log on stderr; ``--seeds N``
runs seeds 0 to N-1 (from ``--first``) on every processor. ``--broken NAME`` runs that broken
engine."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext

import structlog

from streams.core import kernels
from streams.dev.simulation.history import simulate
from streams.dev.simulation.inputs.stories import STORIES, variants
from streams.dev.simulation.seeds import first_caught, processes, try_seeds
from streams.dev.simulation.world import trace_of


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every run was right, else 1."""
    parser = argparse.ArgumentParser(prog="python -m streams.dev.simulation", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="replay this one")
    parser.add_argument("--seeds", type=int, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--story", choices=sorted(STORIES), default="metrics", help="of what")
    parser.add_argument("--broken", metavar="NAME", help="with this broken engine")
    parser.add_argument("--trace", action="store_true", help="also print a digest of all it did")
    parser.add_argument("--every-broken", type=int, metavar="N", help="catch each within N seeds")
    asked = parser.parse_args(arguments)
    known = variants(asked.story)
    if asked.broken is not None and asked.broken not in known:
        parser.error(f"--broken {asked.broken}: one of {', '.join(sorted(known))}")
    if asked.seed is not None:
        return _replay(asked.seed, asked.story, asked.broken, trace=asked.trace)
    if asked.every_broken:
        names = sorted(known) if asked.broken is None else [asked.broken]
        return _catch(names, asked.every_broken, asked.jobs, asked.story)
    seeds = range(asked.first, asked.first + (asked.seeds or 1000))
    return _many(seeds, asked.jobs, asked.story, asked.broken)


def _replay(seed: int, story: str, broken: str | None, *, trace: bool) -> int:
    kernels.load(os.environ.get("DIA_KERNELS", "on"))
    # logs have their own time stamps; only stdout is deterministic
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with variants(story)[broken]() if broken is not None else nullcontext():
        world = simulate(seed, STORIES[story])
    print(trace_of(world) if trace else f"seed {seed}: exact")
    return 0


def _many(seeds: range, jobs: int, story: str, broken: str | None) -> int:
    began = time.monotonic()
    failed = 0
    with processes(jobs) as pool:
        for failure in try_seeds(pool, seeds, story, broken):
            failed += 1
            print(failure, flush=True)
    print(f"{len(seeds)} seeds, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _catch(names: Sequence[str], seeds: int, jobs: int, story: str) -> int:
    missed = 0
    with processes(jobs) as pool:
        for name, failure in first_caught(pool, names, seeds, story):
            missed += failure is None
            print(f"{name}: {failure or 'NOT CAUGHT'}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
