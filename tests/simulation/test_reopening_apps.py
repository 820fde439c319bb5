"""`dia simulate` of an app whose windows reopen: its minutes under faults equal those without, and an
engine that loses rows of them is caught."""

from __future__ import annotations

from typing import Annotated
from unittest.mock import patch

import pytest
from msgspec import Meta

from streams import App, Record, Series
from streams.dev.simulation.apps import any_app
from streams.dev.simulation.apps.any_app import check_app
from streams.dev.simulation.seeds import quiet
from streams.dev.simulation.world import Difference
from streams.engine.windows.minutes.minute_windows import MinuteWindows

SEEDS_OF_A_GOOD_APP = 3
CAUGHT_WITHIN = 30
Label = Annotated[str, Meta(max_length=64)]


class Reading(Record):
    tenant_id: Label
    room: Label
    sensor: Label
    id: str
    level: Annotated[float, Meta(ge=-1e6, le=1e6)]
    ts: int


def _app() -> App:
    app = App("house")
    readings = app.topic(
        "readings", value_type=Reading, key_field="tenant_id", time_field="ts", partitions=2
    )
    app.windows(
        "m1", of=readings, by=("tenant_id", "room", "sensor"), fold=Series("level"), size="60s",
        roll_ups=("1h", "1d"), late="reopen", ids="id",
    )  # fmt: skip
    return app


@pytest.mark.timeout(300)
def test_windows_that_reopen_are_exact_under_faults(monkeypatch):
    """Their rows are no table of the app, and a comparison that left them out would prove nothing."""
    quiet()
    compared = []

    def minutes(rows):
        found = _minutes(rows)
        compared.append(len(found))
        return found

    monkeypatch.setattr(any_app, "_minutes", minutes)
    for seed in range(SEEDS_OF_A_GOOD_APP):
        check_app(_app(), seed)
    assert min(compared) > 10


_minutes = any_app._minutes


def _nothing_loaded(self, items):
    pass


@pytest.mark.timeout(300)
def test_lost_rows_of_windows_that_reopen_are_caught():
    """A restart that forgets live windows replaces their rows with those of later records only."""
    quiet()
    caught = []
    with patch.object(MinuteWindows, "load", _nothing_loaded):
        for seed in range(CAUGHT_WITHIN):
            try:
                check_app(_app(), seed)
            except Difference as difference:
                caught.append(str(difference))
                break
    assert caught
    assert "m1 " in caught[0]
