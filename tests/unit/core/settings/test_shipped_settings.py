"""The behaviour of a pipeline with default settings."""

from __future__ import annotations

from collections import Counter

import pytest

from streams.connect.access.quotas import Quota
from streams.connect.access.refusals import RateLimited
from streams.connect.broker.kafka import consumer as kafka_consumer
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.kafka.producers import plain_producer as kafka_plain_producer
from streams.core.clock import VirtualClock
from streams.core.errors import PoisonStorm
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.engine.runtime.poison.poison import UNKNOWN_TENANT, PoisonBreaker, PoisonLimits
from streams.http.edge import serving

SHIPPED = Settings(kafka_bootstrap="127.0.0.1:1")


class _Started(Exception):  # noqa: N818 - ends a start before it reaches for a broker
    pass


def _options_of(monkeypatch, module, client):
    """The options of the Kafka client."""
    seen = {}

    def made(**options):
        seen.update(options)
        raise _Started

    monkeypatch.setattr(module, client, made)
    return seen


async def test_a_client_of_the_edge_may_send_a_thousand_requests_a_minute():
    """All in one burst if it likes; then one each 60 ms. Other clients are unaffected."""
    clock = VirtualClock()
    quotas, _ = serving._limits(SHIPPED, "dia", clock, Metrics())
    one = {Quota.REQUESTS: 1}
    for _ in range(1000):
        await quotas.take("a", one)
    with pytest.raises(RateLimited) as refused:
        await quotas.take("a", one)
    assert refused.value.retry_after_s == pytest.approx(0.06)
    await quotas.take("b", one)
    await clock.advance(0.06)
    await quotas.take("a", one)
    with pytest.raises(RateLimited):
        await quotas.take("a", one)
    await clock.advance(60)
    for _ in range(1000):
        await quotas.take("a", one)
    with pytest.raises(RateLimited):
        await quotas.take("a", one)
    await quotas.close()


class _Poison(PoisonBreaker):
    def __init__(self) -> None:
        limits = PoisonLimits(
            SHIPPED.poison_window_s,
            SHIPPED.poison_min_records,
            SHIPPED.poison_max_ratio,
            SHIPPED.poison_min_tenants,
        )
        super().__init__(TopicPartition("t", 0), limits)

    def fold(self, now_s: float, records: int, bad: int, *tenants: bytes) -> list[bytes]:
        """Each tenant sends this number of invalid records; without a number, only records without
        a tenant are folded.
        """
        sent = dict.fromkeys(tenants or (UNKNOWN_TENANT,), records)
        wrong = Counter(dict.fromkeys(sent, bad))
        return [*self.observe(now_s, records * len(sent), wrong, lambda: sent, 0)]


def test_more_than_half_of_a_thousand_bad_records_stop_a_partition():
    """One bad producer may cause half of them; more means a bad deploy. Fewer than a thousand
    records are not significant.
    """
    _Poison().fold(0.0, 999, 999)
    _Poison().fold(0.0, 1000, 500)
    with pytest.raises(PoisonStorm):
        _Poison().fold(0.0, 1000, 501)


def test_two_bad_tenants_are_quarantined_and_three_stop_a_partition():
    """Two tenants together cannot stop the partition for the others."""
    assert _Poison().fold(0.0, 1000, 501, b"a", b"b") == [b"a", b"b"]
    assert _Poison().fold(0.0, 999, 999, b"a", b"b") == []
    with pytest.raises(PoisonStorm):
        _Poison().fold(0.0, 1000, 501, b"a", b"b", b"c")


@pytest.mark.parametrize(("later_s", "stops"), [(10.0, True), (10.1, False)])
def test_invalid_records_are_counted_over_ten_seconds(later_s, stops):
    """A slow trickle of invalid records is normal."""
    watched = _Poison()
    watched.fold(0.0, 999, 999)
    if stops:
        with pytest.raises(PoisonStorm):
            watched.fold(later_s, 1, 1)
    else:
        watched.fold(later_s, 1, 1)


async def test_a_silent_consumer_is_replaced_after_thirty_seconds_and_commits_nothing_by_itself(
    monkeypatch,
):
    """A commit outside of the transaction would skip records, and open transactions must not be
    read. A single lost heartbeat must not lose the partitions.
    """
    options = _options_of(monkeypatch, kafka_consumer, "AIOKafkaConsumer")
    broker = KafkaBroker.from_settings(SHIPPED)
    consumer = broker.consumer("g", ["t"], "i")
    with pytest.raises(_Started):
        consumer._new_client()
    assert options["session_timeout_ms"] == 30_000
    assert options["heartbeat_interval_ms"] * 3 <= options["session_timeout_ms"]
    assert options["enable_auto_commit"] is False
    assert options["isolation_level"] == "read_committed"
    assert options["auto_offset_reset"] == "none"


async def test_a_producer_waits_for_all_replicas_and_repeats_without_doubling(monkeypatch):
    """An acknowledged record survives the loss of any one broker. Small events share requests: they
    wait up to 5 ms for each other and are compressed.
    """
    options = _options_of(monkeypatch, kafka_plain_producer, "AIOKafkaProducer")
    producer = KafkaBroker.from_settings(SHIPPED).plain_producer()
    with pytest.raises(_Started):
        await producer.start()
    assert (options["acks"], options["enable_idempotence"]) == ("all", True)
    assert options["linger_ms"] == 5
    assert options["compression_type"] is not None
