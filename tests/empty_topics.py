"""All topics of the pipeline, emptied: an audit would count records of other tests."""

from __future__ import annotations

from agents.app import app
from streams.core.types import Broker
from streams.operate.topics.topics import wanted_topics


async def empty_topics(broker: Broker) -> None:
    """Delete and create all of them; the broker drops the groups' offsets there."""
    admin = await broker.admin()
    topics = wanted_topics(app.topology)
    await admin.delete_topics([topic.name for topic in topics])
    await admin.create_topics(topics)
    await admin.close()
