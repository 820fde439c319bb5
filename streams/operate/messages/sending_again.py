"""Sends one message of a source topic again: the same key, value and headers, as a new record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from streams.connect.broker.opened import opened
from streams.core.errors import RefusedBySafety
from streams.core.records import headers
from streams.core.topics.topology import Topology
from streams.core.types import Broker, Headers, PlainProducer, TopicPartition
from streams.engine.agents.agent import AgentSpec
from streams.engine.agents.job_agent import Agent, JobAgent
from streams.operate.messages.message import TopicMessage

_OF_ONE_RECORD: Final = (headers.REPLAY_PREFIX, headers.DLQ_PREFIX, headers.MIRRORED)
"""Headers with these prefixes describe the old record: a copy of them would make the new one pass
for a replay."""


class SendingOutlook(NamedTuple):
    """Whether a message can be sent again, and in one sentence what becomes of it, or why not."""

    allowed: bool
    text: str


def outlook(
    message: TopicMessage, topology: Topology, agents: Mapping[str, Agent], dedupe_ttl_s: int
) -> SendingOutlook:
    """``agents``: by source topic."""
    name = message.tp.topic
    if name not in topology.by_name:
        why = "Only messages of source topics are sent again. A replay brings a dead letter back, once."
        return SendingOutlook(False, why)
    if message.key is None or message.value is None:
        return SendingOutlook(False, "A record without a key or a value is not sent again.")
    if message.refusal:
        return SendingOutlook(True, f"It becomes a dead letter: {message.refusal}")
    return SendingOutlook(True, _fate(agents.get(name), name, dedupe_ttl_s))


def _fate(agent: Agent | None, topic: str, dedupe_ttl_s: int) -> str:
    if agent is None:
        return f"No agent of this app reads {topic}."
    if isinstance(agent, JobAgent):
        return f"{agent.name} answers it with the result of the first request of its key."
    if isinstance(agent, AgentSpec) and agent.ids:
        return (
            f"{agent.name} drops it as a duplicate within {dedupe_ttl_s} s of the first record of its "
            f"{agent.ids}, and counts it after that."
        )
    return f"{agent.name} processes it a second time: it drops no repeats."


async def send_again(broker: Broker, message: TopicMessage, topology: Topology) -> TopicPartition:
    """Append a copy and wait for its acknowledgement. The partition follows from the key.

    Raises `RefusedBySafety` for a message that `outlook` does not allow, and `BrokerUnavailable`.
    """
    key, value = message.key, message.value
    if message.tp.topic not in topology.by_name or key is None or value is None:
        raise RefusedBySafety(outlook(message, topology, {}, 0).text)
    async with opened(_started(broker)) as producer:
        return await (await producer.send(message.tp.topic, key, value, kept(message.headers)))


def kept(found: Headers) -> Headers:
    """The headers that describe the event, not one record of it."""
    return tuple(
        (name, content)
        for name, content in found
        if not name.startswith(_OF_ONE_RECORD) and name != headers.TRACEPARENT
    )


async def _started(broker: Broker) -> PlainProducer:
    producer = broker.plain_producer()
    await producer.start()
    return producer
