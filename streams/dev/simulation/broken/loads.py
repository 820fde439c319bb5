"""Engines that keep a wrong load history (streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from streams.dev.simulation.variant import Variant
from streams.engine.runtime.partition import load_history
from streams.engine.runtime.partition.load_count import LoadCount
from streams.engine.state.load_run import LoadRun


@contextmanager
def _counted_anew() -> Iterator[None]:
    """A new owner does not go on with the run of the last link."""

    def anew(on: bool, by_key: bool, run: LoadRun) -> LoadCount:
        return LoadCount(on, by_key, LoadRun())

    with patch.object(load_history, "LoadCount", anew):
        yield


BROKEN_LOADS: Mapping[str, Variant] = {"load_counted_anew_by_each_owner": _counted_anew}
