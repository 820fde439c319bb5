"""Errors of the client as errors of dia."""

from __future__ import annotations

import aiokafka.errors as client
import pytest

from streams.connect.broker.kafka.errors import broker_error, transaction_error
from streams.core.errors import BrokerUnavailable, CommitInDoubt


@pytest.mark.parametrize(
    ("told", "kind"), [(broker_error, BrokerUnavailable), (transaction_error, CommitInDoubt)]
)
def test_a_refused_timestamp_names_the_clock(told, kind):
    """A machine whose clock is ahead restarts its partitions until an operator sets it."""
    wrapped = client.KafkaError("the batch failed")
    wrapped.__cause__ = client.InvalidTimestampError()
    error = told(wrapped, "sending to acme.changelog")
    assert type(error) is kind
    assert "clock of this machine" in str(error)
