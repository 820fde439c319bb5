"""Random histories of `record_training`: workers, shards and Redis die, then faults end."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from agents.app import RECORD_TRAINING, TRAIN_RESULTS
from streams.connect.cache.kind import MODEL, owned
from streams.connect.cache.shared import CacheKey
from streams.core.records.model_card import ModelCard
from streams.core.types import TopicPartition
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World

PARTITIONS = 2
STEPS = 30
CALM_S = 600
FIELDS = ("tenant_id", "run_id", "model_id", "version", "event", "alias", "stage", "metrics", "ts")


def _result(rng: random.Random, world: World, number: int) -> dict[str, Any]:
    kind = rng.choice(["run_completed", "alias_updated", "stage_transitioned"])
    result: dict[str, Any] = {
        "result_id": f"r{number if rng.random() < 0.8 else rng.randrange(number + 1)}",
        "run_id": f"run{rng.randrange(9)}",
        "tenant_id": rng.choice("tu"),
        "model_id": f"m{rng.randrange(3)}",
        "version": f"v{rng.randrange(5)}",
        "event": kind,
        "metrics": {"loss": rng.randrange(9), "auc": rng.random()},
        "ts": world.clock.now_ms(),
    }
    if kind == "alias_updated" and rng.random() < 0.9:
        result["alias"] = rng.choice(["champion", "latest"])
    if kind == "stage_transitioned" and rng.random() < 0.9:
        result["stage"] = rng.choice(["staging", "production"])
    return result


class History:
    """The history of one seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.sent: list[dict[str, Any]] = []
        self.hosts = 0

    async def live(self) -> None:
        await self.world.create_topics()
        self.producer = self.world.broker.plain_producer()
        await self.producer.start()
        process = self._start()
        for _ in range(STEPS):
            for _ in range(self.rng.randrange(4)):
                await self._send()
            draw = self.rng.random()
            if draw < 0.1:
                await process.kill()
                process = self._start()
            elif draw < 0.2:
                await process.stop()
                process = self._start()
            elif draw < 0.35:
                self.world.cache.stop()
            elif draw < 0.5:
                self.world.cache.away = False
            elif draw < 0.55:
                self.world.cache.restart()
            elif draw < 0.65:
                faults = self.rng.choice(self.world.shards.faults)
                faults.down = not faults.down
            await asyncio.sleep(self.rng.choice([0.0, 0.1, 1.0, 5.0]))
        self.world.cache.away = False
        for faults in self.world.shards.faults:
            faults.down = False
        await self._settle(process)
        await process.stop()

    async def _send(self) -> None:
        again = self.sent and self.rng.random() < 0.2
        made = (
            self.rng.choice(self.sent) if again else _result(self.rng, self.world, len(self.sent))
        )
        self.sent.append(made)
        value, key = json.dumps(made).encode(), made["model_id"].encode()
        await (await self.producer.send(TRAIN_RESULTS.name, key, value))

    def _start(self):
        # A second start on the same host finds its state; another host restores from the changelog.
        self.hosts += self.rng.random() < 0.3
        process = self.world.process(0, f"host{self.hosts}")
        process.start()
        return process

    async def _settle(self, process) -> None:
        for _ in range(CALM_S):
            await asyncio.sleep(1.0)
            if process.failure is not None:
                raise process.failure
            counts = process.worker.counts()
            quiet = counts and counts.ready == PARTITIONS and process.worker.settled
            if quiet and self._read_to_the_end(process):
                return
        raise AssertionError("not settled")

    def _read_to_the_end(self, process) -> bool:
        """The lag includes records that arrived during a pause only after the next fetch."""
        held = [p for group in process.worker.groups for p in group.partitions.values()]
        ends = [self.world.broker.log(p.tp).high_watermark for p in held]
        return [p.partition.state.link.next_offset for p in held] == ends


def _accepted(world: World) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(partition, offset, result) of the results that must count, computed from the log alone."""
    for number in range(PARTITIONS):
        batch = world.broker.log(TopicPartition(TRAIN_RESULTS.name, number)).read_committed(
            0, 1 << 30
        )
        seen: dict[tuple[str, str], tuple[int, str]] = {}
        rows = zip(batch.offsets, batch.timestamps, batch.values, strict=True)
        for offset, append_ms, value in rows:
            result = json.loads(value)
            needs = {"alias_updated": "alias", "stage_transitioned": "stage"}.get(result["event"])
            if needs and needs not in result:
                continue
            identity = (result["tenant_id"], result["result_id"])
            said = json.dumps([result.get(name) for name in FIELDS])
            first = seen.get(identity)
            if first is not None and append_ms - first[0] <= SETTINGS.dedupe_ttl_s * 1000:
                continue
            seen[identity] = (append_ms, said)
            yield number, offset, result


def _cards(results) -> dict[tuple[str, str], dict[str, Any]]:
    """The card of each model, by an independent implementation."""
    cards: dict[tuple[str, str], dict[str, Any]] = {}
    for _, _, result in results:
        name = (result["tenant_id"], result["model_id"])
        card = cards.setdefault(name, {"stages": {}, "runs": {}, "aliases": {}, "metrics": {}})
        version = result["version"]
        if result["event"] == "run_completed":
            card["runs"][version] = result["run_id"]
            for metric, value in result["metrics"].items():
                card["metrics"].setdefault(metric, []).append(value)
        elif result["event"] == "alias_updated":
            card["aliases"][result["alias"]] = version
        else:
            card["stages"][version] = result["stage"]
    return cards


def _shown(card: ModelCard) -> dict[str, Any]:
    versions = card.versions.items()
    return {
        "stages": {name: v.stage for name, v in versions if v.stage is not None},
        "runs": {name: v.run_id for name, v in versions if v.run_id is not None},
        "aliases": card.aliases,
        "metrics": {name: (best.lowest, best.highest) for name, best in card.best.items()},
    }


@pytest.mark.parametrize("seed", range(25))
def test_models_follow_from_the_log(seed):
    """Rows, cards and caches after any history: each result once, and no card older than its log."""
    loop = VirtualLoop()
    world = World(loop, SETTINGS, [RECORD_TRAINING], partitions=PARTITIONS)
    run(loop, History(world, seed).live())

    accepted = list(_accepted(world))
    rows = world.shards.rows("training_runs")
    assert sorted((row["part"], row["off"]) for row in rows) == sorted(
        (partition, offset) for partition, offset, _ in accepted
    )
    expected = _cards(accepted)
    for card in expected.values():
        card["metrics"] = {name: (min(v), max(v)) for name, v in card["metrics"].items()}
    found = {
        (row["tenant"], row["model"]): msgspec.json.decode(row["card"], type=ModelCard)
        for row in world.shards.rows("models")
    }
    assert {name: _shown(card) for name, card in found.items()} == expected

    for name, card in expected.items():
        entry = world.cache.entries.get(CacheKey(MODEL.name, owned(*name)))
        if entry is not None:
            assert _shown(msgspec.json.decode(entry[1][1:], type=ModelCard)) == card
    events = [json.loads(event)["event"] for event in world.cache.told]
    assert set(events) <= {"RunCompleted", "AliasUpdated", "StageTransitioned"}
    assert events
