"""Batches that are decoded before their partitions fold them."""

from __future__ import annotations

import pytest

from agents.app import AGGREGATE_METRICS
from streams.core import kernels
from streams.core.records.framed_batch import FramedBatch, framed
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.codecs import Limits
from streams.engine.decode.decoding_ahead import DecodingAhead, decoded_once
from streams.engine.decode.scanning import Scanner

TOPIC, LIMITS = AGGREGATE_METRICS.source, Limits(300, 604_800)
BODY = b'{"event_id":"e","tenant_id":"a","model_id":"m","metric":"loss","ts":1700000000000,"value":1.5}'

pytestmark = pytest.mark.skipif(kernels.active is None, reason="nothing is scanned")


def fetched(value=BODY):
    batch = RecordBatch(
        TopicPartition(TOPIC.name, 0), 0, 1, [0], [1_700_000_000_000], [b"a"], [value], [()]
    )
    found = framed(batch)
    assert isinstance(found, FramedBatch)
    return found


def test_a_batch_is_decoded_once():
    """Its partition would take as long again."""
    batch = fetched()
    DecodingAhead({TOPIC.name: TOPIC}, LIMITS)(batch)
    assert [*batch.decoded.events] == [TOPIC.codec.decoder(TOPIC.type)([BODY]).events[0]]
    assert decoded_once(batch, None, TOPIC, LIMITS) is batch.decoded


def test_topics_of_other_agents_are_left_alone():
    """Their agents read events, not columns."""
    batch = fetched()
    DecodingAhead({}, LIMITS)(batch)
    assert batch.decoded is None


def test_a_failure_stays_with_the_partition(monkeypatch):
    """An exception in the thread would end the fetches of every partition."""
    batch = fetched()

    def fails(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(Scanner, "decode", fails)
    DecodingAhead({TOPIC.name: TOPIC}, LIMITS)(batch)
    assert batch.decoded is None
    with pytest.raises(RuntimeError, match="planted"):
        decoded_once(batch, Scanner.of(TOPIC), TOPIC, LIMITS)
    assert [*decoded_once(batch, None, TOPIC, LIMITS).events]


def test_records_that_join_a_batch_are_decoded():
    """What was decoded before lacks them."""
    batch, more = fetched(), fetched()
    DecodingAhead({TOPIC.name: TOPIC}, LIMITS)(batch)
    batch.add(more.frames())
    assert batch.decoded is None
