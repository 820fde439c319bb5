"""Histories in which shards refuse the same windows at every attempt, as a real shard does."""

from __future__ import annotations

from streams.dev.simulation.faults.weather import Weather
from streams.dev.simulation.history import simulate
from streams.dev.simulation.inputs.stories import METRICS
from streams.dev.simulation.seeds import first_caught, processes

REFUSING_SEED = 3


def test_a_refused_row_that_is_forgotten_is_found_soon():
    """A restart inserts the row again; only a shard that refuses it for good shows that it is lost."""
    with processes(1) as pool:
        ((name, failure),) = first_caught(pool, ["refused_rows_forgotten"], 8, "metrics")
    assert failure is not None, f"{name}: not caught within 8 seeds"
    assert "m1 (found, expected) differ" in failure.error


def test_the_end_of_the_weather_ends_no_refusal_of_that_kind(monkeypatch):
    """Each row that was refused is a dead letter at the end, and in no shard."""
    kept = []
    clear = Weather.clear

    async def cleared(self, *, kill):
        kept.extend(shard.refuse_always for shard in self._world.shards.faults)
        survivors = await clear(self, kill=kill)
        kept.extend(shard.refuse_always for shard in self._world.shards.faults)
        return survivors

    monkeypatch.setattr(Weather, "clear", cleared)
    world = simulate(REFUSING_SEED, METRICS)
    assert kept
    assert None not in kept
    assert world.shards.refused
    refusing = kept[0]
    assert not [row for row in world.shards.rows("m1") if row["inc"] and refusing("m1", row)]
