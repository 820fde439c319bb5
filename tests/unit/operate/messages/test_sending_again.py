"""Sending a message of a source topic again: what it does, and what is copied."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.errors import RefusedBySafety
from streams.core.types import TopicPartition
from streams.operate.messages.message import TopicMessage
from streams.operate.messages.sending_again import kept, outlook, send_again
from streams.operate.topics.topics import wanted_topics

AGENTS = {agent.source.name: agent for agent in app.agents.values()}


def message(topic, *, key=b"acme", value=b"{}", refusal="", headers=()):
    return TopicMessage(
        tp=TopicPartition(topic, 0), offset=0, at_ms=0, key=key, value=value, headers=headers,
        event={}, refusal=refusal, tenant="acme", code="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "allowed", "said"),
    [
        (message("model.metrics"), True, "drops it as a duplicate within 60 s"),
        (message("decision.simulation.request"), True, "the result of the first request"),
        (message("model.metrics", refusal="wrong_type: x"), True, "becomes a dead letter"),
        (message("model.metrics", key=None), False, "without a key"),
        (message("model.metrics", value=None), False, "without a key or a value"),
        (message("model.metrics.dlq"), False, "replay"),
        (message("other"), False, "source topics"),
    ],
)
def test_the_consequence_is_said_before(found, allowed, said):
    """An operator consents to what happens, not to a button."""
    told = outlook(found, app.topology, AGENTS, 60)
    assert told.allowed is allowed
    assert said in told.text


def test_headers_of_one_record_are_not_copied():
    """The copy would pass for a replay of the old dead letter, or lengthen an old trace."""
    found = (
        ("dia.schema", b"2"), ("dia.replay.id", b"x"), ("dia.dlq.error_code", b"x"),
        ("traceparent", b"x"), ("own", b"x"),
    )  # fmt: skip
    assert kept(found) == (("dia.schema", b"2"), ("own", b"x"))


async def test_a_message_that_is_not_allowed_is_not_sent():
    """The law holds below the page, too."""
    broker = MemoryBroker(SystemClock())
    await (await broker.admin()).create_topics(wanted_topics(app.topology))
    for found in (message("model.metrics.dlq"), message("model.metrics", key=None)):
        with pytest.raises(RefusedBySafety):
            await send_again(broker, found, app.topology)
    tp = await send_again(broker, message("model.metrics"), app.topology)
    reader = await broker.reader()
    assert await reader.last_stable_offset(tp) == 1
