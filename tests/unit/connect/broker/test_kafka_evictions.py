"""Distinguishing a lost static membership from an absent broker."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code

from streams.connect.broker.kafka.errors import FencedInstanceIdError, evicted


@pytest.mark.parametrize("wrap", ["{!r}", "Unexpected exception in heartbeat task: {!r}"])
def test_the_clients_error_for_a_fenced_id_counts_as_an_eviction(wrap):
    """If it counted as an outage, the member would wait while another member owns the partitions."""
    fenced = for_code(FencedInstanceIdError.errno)()
    assert evicted(KafkaError(wrap.format(fenced)))


def test_an_outage_does_not_count_as_an_eviction():
    """A member that joins anew after every short outage would cause a rebalance of all members."""
    assert not evicted(KafkaConnectionError("connection refused"))
