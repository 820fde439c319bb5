"""Histories in which shards always refuse the same windows, as a real shard does."""

from __future__ import annotations

from streams.dev.simulation.faults.fault_injector import FaultInjector
from streams.dev.simulation.history import simulate
from streams.dev.simulation.inputs.stories import METRICS
from streams.dev.simulation.seeds import first_caught, processes

REFUSING_SEED = 3


def test_an_engine_that_forgets_a_refused_row_is_caught_soon():
    """A restart inserts the row again; only a shard that always refuses it reveals the loss."""
    with processes(1) as pool:
        ((name, failure),) = first_caught(pool, ["refused_rows_forgotten"], 8, "metrics")
    assert failure is not None, f"{name}: not caught within 8 seeds"
    assert "m1 (found, expected) differ" in failure.error


def test_a_permanent_refusal_outlasts_the_other_faults(monkeypatch):
    """At the end, each refused row is a dead letter and is in no shard."""
    kept = []
    clear = FaultInjector.clear

    async def cleared(self, *, kill):
        kept.extend(shard.refuse_always for shard in self._world.shards.faults)
        survivors = await clear(self, kill=kill)
        kept.extend(shard.refuse_always for shard in self._world.shards.faults)
        return survivors

    monkeypatch.setattr(FaultInjector, "clear", cleared)
    world = simulate(REFUSING_SEED, METRICS)
    assert kept
    assert None not in kept
    assert world.shards.refused
    refusing = kept[0]
    assert not [row for row in world.shards.rows("m1") if row["inc"] and refusing("m1", row)]
