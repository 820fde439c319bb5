"""Recorded spans, in memory."""

from __future__ import annotations

import pytest

from tests.unit.core.tracing.recorder import Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
