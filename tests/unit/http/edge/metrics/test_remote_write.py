"""Bytes that Prometheus's own client for senders wrote (client_golang, exp/api/remote)."""

from __future__ import annotations

import json
from base64 import b64decode

from streams.http.edge.metrics.encodings import unpacked
from streams.http.edge.metrics.remote_write import read_v2
from tests.metric_requests import made_of

WRITTEN = (
    "rwHwVCIAIghfX25hbWVfXyICdXAiA2pvYiIEbm9kZSIIaW5zdGFuY2UiATAiATEiATIqIwoGAQIDBAUGEgcQu8SG4KI0"
    "EhAJAgAAAAAA8H8QvMSG4KI0KiwNJRAHEhAJAAUBBPA/hi4AAAgVLgQAQGIuAA=="
)
"""Version 2.0: three series, each with a sample and the staleness marker a millisecond later."""


def test_the_request_of_the_published_client_is_read():
    """Its declaration of the messages is another than the edge's, and so is its Snappy."""
    made = made_of(unpacked(b64decode(WRITTEN), "snappy", 1 << 20), read_v2)
    events = [json.loads(value) for value in made.values]
    assert [(event["metric"], event["value"]) for event in events] == [
        ('up{instance="0"}', 0),
        ('up{instance="1"}', 1),
        ('up{instance="2"}', 2),
    ]
    assert {event["ts"] for event in events} == {1_796_034_634_299}
    assert (made.points, made.absent, made.accepted) == (6, 3, 3)
