"""A history is bit-identical with compiled kernels, interpreted kernels, and numpy alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from streams.core import kernels
from streams.core.kernels import compiled
from streams.dev.simulation.history import simulate
from streams.dev.simulation.inputs.stories import STORIES
from streams.dev.simulation.world import trace_of

if kernels.active is None:
    pytest.skip("there are no kernels to compare", allow_module_level=True)

INTERPRETED = SimpleNamespace(
    **{
        name: compiled.twin(value)
        for name, value in vars(kernels.active).items()
        if hasattr(value, "py_func")
    }
)


@pytest.mark.parametrize("other", [None, INTERPRETED], ids=["numpy", "interpreted"])
def test_the_trace_is_the_same(other, monkeypatch):
    """Stored, sent and shown data depend on the log, not on installed packages."""
    with_kernels = trace_of(simulate(3, STORIES["metrics"]))
    monkeypatch.setattr(kernels, "active", other)
    assert trace_of(simulate(3, STORIES["metrics"])) == with_kernels
