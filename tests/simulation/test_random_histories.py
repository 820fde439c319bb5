"""Random histories of the whole engine; none may lose or double a record.

A failing seed is printed with the command that replays it. TEST_SEEDS sets how many run, a fifth of
them of jobs, and as many of single events and of added shards, a tenth of rebuilt rows; `make
test-faults SEEDS=N` runs more of the same, and N others.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from streams.dev.simulation.inputs.stories import STORIES, variants
from streams.dev.simulation.seeds import first_caught, processes, try_seeds
from tests.depth import planted

SEEDS = int(os.environ.get("TEST_SEEDS", "20"))
JOBS = os.cpu_count() or 1
CAUGHT_WITHIN = 300
KNOWN = tomllib.loads(Path(__file__).with_name("caught_at.toml").read_text())
"""Seeds to try first. If a change of the engine moves one, all others are tried from 0 on."""
_MISFIT = re.compile(
    r"positional argument|raised (?:TypeError|ValueError|AttributeError|IndexError)\("
)


@pytest.fixture(scope="module")
def pool():
    """Shared by the tests, because a new process uses four seconds of CPU before its first history."""
    with processes(JOBS) as running:
        yield running


@pytest.mark.timeout(600 + 3 * SEEDS)
def test_every_history_is_exact(pool):
    """With crashes between any two steps, fenced processes, lost answers and broken shards."""
    failures = [str(failure) for failure in try_seeds(pool, range(SEEDS - SEEDS // 5), "metrics")]
    assert not failures, "\n".join(failures)


@pytest.mark.timeout(600 + 3 * SEEDS)
def test_every_history_with_added_shards_is_exact(pool):
    """Two shards are added around midnight; each worker learns of them by itself."""
    failures = [str(failure) for failure in try_seeds(pool, range(SEEDS // 5), "growth")]
    assert not failures, "\n".join(failures)


@pytest.mark.timeout(600 + 3 * SEEDS)
def test_every_history_with_rebuilt_rows_is_exact(pool):
    """Shards lose and damage rows of closed windows; rebuilds run, also concurrently, and are killed."""
    failures = [str(failure) for failure in try_seeds(pool, range(SEEDS // 10), "rebuilt")]
    assert not failures, "\n".join(failures)


@pytest.mark.timeout(600 + 3 * SEEDS)
def test_every_history_with_moved_days_is_exact(pool):
    """A day moves up to three times while late records arrive; movers and workers are killed."""
    failures = [str(failure) for failure in try_seeds(pool, range(SEEDS // 10), "moved")]
    assert not failures, "\n".join(failures)


@pytest.mark.timeout(600 + 3 * SEEDS)
def test_every_history_of_jobs_is_exact(pool):
    """Requests finish out of order: each is answered once, and each key has one authoritative run."""
    failures = [str(failure) for failure in try_seeds(pool, range(SEEDS // 5), "jobs")]
    assert not failures, "\n".join(failures)


@pytest.mark.timeout(600 + 3 * SEEDS)
def test_every_history_of_single_events_is_exact(pool):
    """An agent waits, raises and hangs in the middle of events: each event counts completely and
    once, or not at all."""
    failures = [str(failure) for failure in try_seeds(pool, range(SEEDS // 5), "stream")]
    assert not failures, "\n".join(failures)


def test_the_known_seeds_name_existing_broken_engines_within_the_bound():
    """The name of a removed engine, or a seed beyond the bound, would catch nothing."""
    assert KNOWN.keys() <= {name for story in STORIES for name in variants(story)}
    assert max(KNOWN.values()) < CAUGHT_WITHIN


@pytest.mark.timeout(900)
@pytest.mark.parametrize("story", sorted(STORIES))
def test_every_broken_engine_is_caught(pool, story):
    """A check that cannot fail proves nothing: it must detect each of these bugs."""
    caught = dict(first_caught(pool, planted(sorted(variants(story))), CAUGHT_WITHIN, story, KNOWN))
    assert [name for name, failure in caught.items() if failure is None] == []
    # A variant with another signature than the original fails at its call, which proves nothing.
    misfits = {
        name: failure.error for name, failure in caught.items() if _MISFIT.search(failure.error)
    }
    assert misfits == {}


def test_a_seed_makes_the_same_history_in_every_process():
    """Otherwise a failing seed could not be replayed. The hash seed of strings must not matter."""
    traces = {
        subprocess.run(
            [sys.executable, "-m", "streams.dev.simulation", "7", "--trace"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(traces) == 1
    assert "steps" in traces.pop()
