"""Many seeds of one app, on several processors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from streams.core.errors import UsageError
from streams.dev.simulation.any_app import check_app
from streams.dev.simulation.seeds import quiet
from streams.engine.app.loading import load_app


def failures(app_name: str, seeds: Sequence[int], jobs: int) -> Iterator[tuple[int, str]]:
    """Seed and reason of each history that went wrong. Raises `UsageError` for an app that cannot be
    simulated."""
    if jobs == 1 or len(seeds) == 1:
        quiet()
        for seed in seeds:
            if why := _try(app_name, seed):
                yield seed, why
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=quiet) as pool:
        tried = pool.map(partial(_try, app_name), seeds)
        yield from ((seed, why) for seed, why in zip(seeds, tried, strict=True) if why)


def _try(app_name: str, seed: int) -> str:
    app = load_app(app_name)
    try:
        check_app(app, seed)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this seed
        return f"{type(error).__name__}: {error}"[:2000]
    return ""
