"""Runs many seeds, of the scenarios or of an app, on several processors."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import islice
from multiprocessing import get_context
from types import MappingProxyType
from typing import NamedTuple

import structlog

from streams.core import kernels
from streams.core.errors import UsageError
from streams.dev.simulation.apps.any_app import check_app
from streams.dev.simulation.history import simulate
from streams.dev.simulation.inputs.stories import STORIES, variants
from streams.engine.app.loading import load_app

_SEEDS_A_TASK = 10


class FailedSeed(NamedTuple):
    seed: int
    broken: str | None
    error: str
    story: str

    def __str__(self) -> str:
        again = f"python -m streams.dev.simulation {self.seed} --story {self.story}"
        if self.broken is not None:
            again += f" --broken {self.broken}"
        return f"seed {self.seed}: {self.error}\n  again: {again}"


def try_seed(seed: int, story: str, broken: str | None = None) -> FailedSeed | None:
    variant = variants(story)[broken]() if broken is not None else nullcontext()
    with variant:  # a variant that does not fit the engine is no failure of the seed
        try:
            simulate(seed, STORIES[story])
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this seed
            return FailedSeed(seed, broken, _described(error)[:2000], story)
    return None


def _described(error: BaseException) -> str:
    """A group is described by its errors: it says nothing itself."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(map(_described, error.exceptions)))
    return f"{type(error).__name__}: {error}"


def processes(jobs: int) -> ProcessPoolExecutor:
    """New processes for runs, which print nothing; a context manager. Each loads the engine and the
    kernels first, which takes seconds of CPU."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), initializer=quiet)


def try_seeds(
    pool: Executor, seeds: Iterable[int], story: str, broken: str | None = None
) -> Iterator[FailedSeed]:
    """Failures as they are found, of runs in `processes`."""
    for failures in pool.map(partial(_try_some, story, broken), _chunks(seeds)):
        yield from failures


def first_caught(
    pool: Executor,
    broken: Iterable[str],
    seeds: int,
    story: str,
    known: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[tuple[str, FailedSeed | None]]:
    """For each variant, the first seed that fails; its ``known`` seed is tried first."""
    names = list(broken)
    first = [known.get(name, 0) for name in names]
    found = pool.map(partial(_first, story, seeds), names, first)
    yield from zip(names, found, strict=True)


def quiet() -> None:
    """Load the kernels, disable logs, and collect rarely: a run is short."""
    structlog.configure(
        processors=[],
        logger_factory=structlog.ReturnLoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(50),
    )
    kernels.load(os.environ.get("DIA_KERNELS", "on"))
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def _chunks(seeds: Iterable[int]) -> Iterator[tuple[int, ...]]:
    left = iter(seeds)
    while chunk := tuple(islice(left, _SEEDS_A_TASK)):
        yield chunk


def _try_some(story: str, broken: str | None, seeds: tuple[int, ...]) -> list[FailedSeed]:
    tried = [try_seed(seed, story, broken) for seed in seeds]
    return [failure for failure in tried if failure is not None]


def _first(story: str, seeds: int, broken: str, known: int) -> FailedSeed | None:
    for seed in dict.fromkeys((known, *range(seeds))):
        failure = try_seed(seed, story, broken)
        if failure is not None:
            return failure
    return None


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
    with processes(jobs) as pool:
        yield from pool.map(partial(_try, app_name), seeds)


def _try(app_name: str, seed: int) -> SeedOutcome:
    app = load_app(app_name)
    try:
        return SeedOutcome(seed, "", check_app(app, seed))
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this seed
        return SeedOutcome(seed, _described(error)[:2000], frozenset())
