"""The partition of a key must be the one that every other Kafka client computes."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as client_murmur2
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.broker.partitioner import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_vectors_of_kafkas_own_test_hold(key, signed):
    """The values come from Kafka's UtilsTest."""
    assert murmur2(key) == signed & 0xFFFFFFFF


@given(st.binary(max_size=64))
def test_every_key_hashes_as_in_the_client(key):
    """A record sent through aiokafka's own partitioner must land in the same partition."""
    assert murmur2(key) == client_murmur2(key)


def test_a_key_that_is_too_long_for_the_cache_hashes_alike():
    """Otherwise a long key would lie in one partition for other clients, and in another for dia."""
    for size in (255, 256, 257, 5000):
        key = bytes(range(251)) * 20
        assert murmur2(key[:size]) == client_murmur2(key[:size])


@given(st.binary(max_size=64), st.integers(min_value=1, max_value=1000))
def test_the_partition_is_within_range(key, partitions):
    """The sign bit is cleared before the modulo."""
    assert 0 <= partition_of(key, partitions) < partitions
