"""Dead letters with fixed contents and times."""

from __future__ import annotations

from typing import Any

from agents.app import MODEL_METRICS
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.types import OutboundRecord, TopicPartition
from streams.engine.runtime.effects.dead_letters import Failure, Origin, dead_letter

T = 1_800_000_000_000
"""2027-01-15T08:00:00Z, when the letters of the fixture begin to fail."""
NOW_S = T / 1000 + 2 * 3600
GOOD = b'{"tenant_id":"acme","model_id":"m","metric":"x","ts":%d,"value":1.5}' % T


def letter(offset: int, value: bytes | None, code: str, message: str, **changes: Any):
    """A dead letter of model.metrics/1 as dia writes it."""
    key = changes.pop("key", b"acme")
    headers = changes.pop("headers", ())
    failed_ms = changes.pop("failed_ms", T + offset)
    stage = changes.pop("stage", "decode")
    assert not changes
    tp = TopicPartition(MODEL_METRICS.name, 1)
    origin = Origin(
        tp=tp, offset=offset, timestamp_ms=T, key=key, value=value, headers=headers,
        dlq=TopicPartition(MODEL_METRICS.dlq, 1), id=f"{tp}/{offset}",
    )  # fmt: skip
    failure = Failure(
        code=code, message=message, stage=stage, agent="aggregate_metrics", group="dia-group",
        attempts=1, first_failed_ms=failed_ms,
    )  # fmt: skip
    return dead_letter(origin, failure).record


async def fill(broker: MemoryBroker, *records: OutboundRecord) -> None:
    """Write the dead letters in one transaction."""
    producer = broker.transactional_producer("fill")
    await producer.start()
    await producer.begin()
    for record in records:
        await (await producer.send(record))
    await producer.commit()
    await producer.close()


def six() -> list[OutboundRecord]:
    """One dead letter of each common kind."""
    foreign = (
        ("__connect.errors.topic", b"orders"),
        ("__connect.errors.exception.class.name", b"E"),
    )
    dlq = TopicPartition(MODEL_METRICS.dlq, 2)
    return [
        letter(41, GOOD.replace(b"1.5", b'"x"'), "wrong_type",
               "$.value: Expected `float`, got `str`", headers=(("dia.schema", b"1"),)),
        letter(42, GOOD.replace(b"1.5", b'"y"'), "wrong_type",
               "$.value: Expected `float`, got `str`", failed_ms=T - 90 * 60_000),
        letter(43, b"\xff\x00{", "invalid_utf8", "$: expected UTF-8", key=b"other"),
        letter(44, GOOD, "retries_exhausted", "shard away", stage="process"),
        letter(45, b"{\x1b[31m", "invalid_json", "$: expected one JSON \x1b]0;own\x07", key=None),
        OutboundRecord(dlq, b"k", b"text", foreign, T - 40 * 86_400_000),
    ]  # fmt: skip
