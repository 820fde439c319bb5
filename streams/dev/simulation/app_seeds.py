"""Many seeds of one app, on several processors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

from streams.core.errors import UsageError
from streams.dev.simulation.any_app import check_app
from streams.dev.simulation.seeds import quiet
from streams.engine.app.loading import load_app


class SeedOutcome(NamedTuple):
    """``why`` the run failed, or "". ``left_out``: windows that could not be compared."""

    seed: int
    why: str
    left_out: frozenset[str]


def outcomes(app_name: str, seeds: Sequence[int], jobs: int) -> Iterator[SeedOutcome]:
    """Raises `UsageError` for an app that cannot be simulated."""
    if jobs == 1 or len(seeds) == 1:
        quiet()
        yield from (_try(app_name, seed) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=quiet) as pool:
        yield from pool.map(partial(_try, app_name), seeds)


def _try(app_name: str, seed: int) -> SeedOutcome:
    app = load_app(app_name)
    try:
        return SeedOutcome(seed, "", check_app(app, seed))
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this seed
        return SeedOutcome(seed, f"{type(error).__name__}: {error}"[:2000], frozenset())
