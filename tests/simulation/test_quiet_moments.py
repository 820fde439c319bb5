"""What is right at the end may have been wrong before: quiet moments are judged, too. TEST_SEEDS sets
how many histories run, a quarter of them."""

from __future__ import annotations

import os

import pytest

from streams.dev.simulation.seeds import processes, try_seed, try_seeds

FIRST = 8
SEEDS = range(FIRST, FIRST + int(os.environ.get("TEST_SEEDS", "30")) // 4 + 1)
"""In history 12 both are wrong at a quiet moment."""


@pytest.fixture(scope="module")
def pool():
    """Of one process: a new one loads for as long as these histories run."""
    with processes(1) as running:
        yield running


@pytest.mark.parametrize("name", ["live_rows_twice_until_merged", "live_rows_acknowledged_unseen"])
def test_a_store_that_is_wrong_for_a_while_is_caught_in_between(pool, name):
    """A dashboard shows live windows: a double that a later merge mends was seen by people."""
    failures = list(try_seeds(pool, SEEDS, "metrics", name))
    # Most histories end well, so that their ends alone would not tell.
    assert len(failures) < len(SEEDS) / 2
    assert any("at a quiet moment" in failure.error for failure in failures)


def test_a_refused_row_of_an_open_window_is_not_a_loss():
    """Its window offers the row again when it changes or closes. In this history a shard refuses the
    newest row of an open window before a quiet moment."""
    assert try_seed(1390, "metrics") is None
