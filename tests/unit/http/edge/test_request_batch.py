"""Blocks of a spool with all attributes of their records."""

from __future__ import annotations

import pytest

from streams.core.command_errors import SpoolCorrupt
from streams.http.edge import request_batch
from streams.http.edge.request_batch import RequestBatch

HEADER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_spooled_block_keeps_its_trace():
    """An event that was spooled during an outage keeps its trace."""
    followed, alone = (
        RequestBatch("edge", 7, [b"k"], [b"v"], HEADER),
        RequestBatch("edge", 8, [b"k"], [b"v"]),
    )
    found = request_batch.decode(request_batch.encode([followed, alone]))
    assert found == [followed, alone]
    assert [one.headers for one in found] == [(("traceparent", HEADER),), ()]


def test_a_spooled_block_keeps_the_schema_version_of_its_values():
    """Otherwise events after an outage would be read as version 1."""
    (found,) = request_batch.decode(
        request_batch.encode([RequestBatch("edge", 7, [b"k"], [b"v"], HEADER, 2)])
    )
    assert found.headers == (("dia.schema", b"2"), ("traceparent", HEADER))


@pytest.mark.parametrize(
    ("keys", "by_key"),
    [
        ([b"key", b"key", b"key"], {b"key": 15}),
        ([b"key", b"k", b"key"], {b"key": 11, b"k": 2}),
    ],
    ids=["one tenant", "two tenants"],
)
def test_the_bytes_of_a_batch_are_those_of_its_keys_and_values(keys, by_key):
    """The bound of the spool and the share of each tenant are counted in these bytes."""
    batch = RequestBatch("edge", 1, keys, [b"abc", b"d", b"ef"])
    assert batch.bytes_by_key() == by_key
    assert batch.size_bytes == sum(by_key.values())


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x91\x01"])
def test_a_block_that_no_edge_wrote_is_damage(payload):
    """Its checksum is right, so another program wrote the file: the edge reports it and stops."""
    with pytest.raises(SpoolCorrupt, match="cannot be read"):
        request_batch.decode(payload)


def test_a_spool_is_read_by_the_next_version():
    """An edge may be upgraded while its events are on the disk."""
    written = b"\x91\x96\xa4edge\x07\x91\xc4\x01k\x91\xc4\x01v\xc4\x0400-a\x02"
    batch = RequestBatch("edge", 7, [b"k"], [b"v"], b"00-a", 2)
    assert request_batch.encode([batch]) == written
    assert request_batch.decode(written) == [batch]
