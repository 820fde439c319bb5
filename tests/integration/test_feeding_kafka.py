"""Commands that create topics and produce events, on a real broker."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.app import MODEL_METRICS, app
from streams.cli import main
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.log_range import decided_end, read_range
from streams.connect.broker.opened import opened
from streams.connect.broker.partitioner import partition_of
from streams.core.clock import SystemClock
from streams.core.types import TopicPartition
from streams.engine.decode.codecs import Limits, decode
from streams.operate.topics.topics import plan, wanted_topics


@pytest.fixture
def bootstrap(stack, monkeypatch, tmp_path) -> str:
    """The broker's address, passed to the commands as an option."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", stack.kafka_bootstrap)
    return stack.kafka_bootstrap


async def _differences(bootstrap: str) -> tuple[object, ...]:
    async with opened(KafkaBroker(bootstrap).admin()) as admin:
        return plan(
            app.topology, wanted_topics(app.topology), await admin.describe_topics()
        ).changes


async def _ends(bootstrap: str) -> list[int]:
    async with opened(KafkaBroker(bootstrap).reader()) as reader:
        return [
            await decided_end(reader, TopicPartition(MODEL_METRICS.name, partition), SystemClock())
            for partition in range(MODEL_METRICS.partitions)
        ]


async def _read(bootstrap: str, starts: list[int]) -> list:
    """Everything from ``starts`` on, one list of batches per partition."""
    reader, batches = await KafkaBroker(bootstrap).reader(), []
    try:
        for partition, start in enumerate(starts):
            tp = TopicPartition(MODEL_METRICS.name, partition)
            end = await decided_end(reader, tp, SystemClock())
            batches += [batch async for batch in read_range(reader, tp, start, end, 50_000)]
    finally:
        await reader.close()
    return batches


def test_applying_topics_twice_changes_nothing(bootstrap, capsys):
    """Kafka normalises settings: what it returns must compare equal to what was declared."""
    assert main(["topics", "apply"]) == 0
    assert asyncio.run(_differences(bootstrap)) == ()
    assert main(["topics", "apply", "--json"]) == 0
    assert "as declared" in capsys.readouterr().err
    assert main(["topics", "plan", "--json"]) == 0
    assert capsys.readouterr().out == ""


def test_synthetic_events_are_read_back_as_the_oracle_predicts(bootstrap, capsys):
    """Generator, producer, broker and codec agree on every record, including keys and times."""
    assert main(["topics", "apply"]) == 0
    starts = asyncio.run(_ends(bootstrap))
    argv = ["produce", MODEL_METRICS.name, "--generate", "30000", "--poison", "0.01", "--json"]
    capsys.readouterr()
    assert main(argv) == 0
    shown = json.loads(capsys.readouterr().out)
    good, codes = [], {}
    for batch in asyncio.run(_read(bootstrap, starts)):
        decoded = decode(MODEL_METRICS, batch, Limits(300, 604_800))
        good += decoded.events
        for bad in decoded.bad:
            codes[bad.code] = codes.get(bad.code, 0) + 1
    assert codes == shown["dead_letters"]
    assert len({event.event_id for event in good}) == shown["new"]
    assert len(good) == shown["new"] + shown["duplicates"]


def test_lines_are_sent_to_the_partition_of_their_key(bootstrap, tmp_path, capsys):
    """Java producers use the same partitioner; a tenant must not be on two partitions."""
    assert main(["topics", "apply"]) == 0
    starts = asyncio.run(_ends(bootstrap))
    now_ms = SystemClock().now_ms()
    file = tmp_path / "events.jsonl"
    with file.open("w") as lines:
        for i in range(200):
            event = {"tenant_id": f"tenant-{i}", "model_id": "m", "metric": "x", "value": i}
            lines.write(json.dumps({**event, "ts": now_ms}) + "\n")
        lines.write("{\n")
    capsys.readouterr()
    assert main(["produce", MODEL_METRICS.name, "--file", str(file), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["sent"] == 200
    batches = asyncio.run(_read(bootstrap, starts))
    assert sum(map(len, batches)) == 200
    for batch in batches:
        assert {partition_of(key, 4) for key in batch.keys} == {batch.tp.partition}


def test_the_error_names_an_unreachable_broker(monkeypatch, tmp_path, capsys):
    """Exit code 4 tells scripts to retry; the address tells operators where."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    assert main(["topics", "plan"]) == 4
    assert "127.0.0.1:1" in capsys.readouterr().err
