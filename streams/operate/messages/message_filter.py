"""Which messages of a topic are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.connect.broker.partitioner import partition_of
from streams.core.topics.topic import Topic
from streams.core.types import TopicPartition
from streams.operate.messages.condition import Condition
from streams.operate.messages.message import TopicMessage
from streams.operate.trace.needles import needles


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """A message must meet each given condition. ``text``: bytes of its key, value or a header have
    it. ``code``: of a dead letter. ``owner``: only what this tenant may see."""

    tenant: str | None = None
    key: bytes | None = None
    code: str | None = None
    text: str | None = None
    where: Condition | None = None
    owner: str | None = None

    def selects(self, message: TopicMessage) -> bool:
        return (
            (self.tenant is None or message.tenant == self.tenant)
            and (self.owner is None or message.belongs_to(self.owner))
            and (self.key is None or message.key == self.key)
            and (self.code is None or message.code == self.code)
            and (self.text is None or self._contains(message))
            and (self.where is None or self.where.holds(message.event))
        )

    def select(self, messages: Sequence[TopicMessage]) -> list[TopicMessage]:
        return [one for one in messages if self.selects(one)]

    @property
    def needles(self) -> tuple[bytes, ...]:
        """Bytes of which each selected record contains one; () where none are known. Searched
        before anything is decoded."""
        for known in (self.text, self.code):
            if known:
                return needles(known)
        return (self.key,) if self.key else ()

    def partitions(self, topic: str, count: int, source: Topic | None) -> list[TopicPartition]:
        """The partitions that can hold selected records. A DLQ keeps the partition of its source,
        so a key names it there too if both have as many."""
        key = self.key
        tenant = self.tenant if self.owner is None else self.owner
        if key is None and tenant is not None and source is not None and source.key_is_tenant:
            key = tenant.encode()
        own = source is not None and source.name == topic
        numbers = range(count) if key is None or not own else [partition_of(key, count)]
        return [TopicPartition(topic, number) for number in numbers]

    def _contains(self, message: TopicMessage) -> bool:
        parts = [message.key or b"", message.value or b"", *(raw for _, raw in message.headers)]
        return any(form in part for part in parts for form in needles(self.text or ""))
