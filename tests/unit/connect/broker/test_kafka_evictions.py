"""How a lost static membership is told from a broker that is away."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code

from streams.connect.broker.kafka.errors import FencedInstanceIdError, evicted


@pytest.mark.parametrize("wrap", ["{!r}", "Unexpected exception in heartbeat task: {!r}"])
def test_what_the_client_makes_of_a_fenced_id_is_an_eviction(wrap):
    """Taken for an outage, it would be waited for while the other member has the partitions."""
    fenced = for_code(FencedInstanceIdError.errno)()
    assert evicted(KafkaError(wrap.format(fenced)))


def test_an_outage_is_not_an_eviction():
    """A member that joins anew at every hiccup would make the others rebalance."""
    assert not evicted(KafkaConnectionError("connection refused"))
