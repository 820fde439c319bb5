"""What lies in a spool: blocks, with all that their records bear."""

from __future__ import annotations

from streams.http.edge import request_batch
from streams.http.edge.request_batch import RequestBatch

HEADER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_spooled_block_keeps_its_trace():
    """An event that waited out an outage on the disk is still followed."""
    followed, alone = (
        RequestBatch("edge", 7, [b"k"], [b"v"], HEADER),
        RequestBatch("edge", 8, [b"k"], [b"v"]),
    )
    found = request_batch.decode(request_batch.encode([followed, alone]))
    assert found == [followed, alone]
    assert [one.headers for one in found] == [(("traceparent", HEADER),), ()]


def test_a_spooled_block_keeps_the_schema_version_of_its_values():
    """After an outage they would be read as version 1."""
    (found,) = request_batch.decode(
        request_batch.encode([RequestBatch("edge", 7, [b"k"], [b"v"], HEADER, 2)])
    )
    assert found.headers == (("dia.schema", b"2"), ("traceparent", HEADER))
