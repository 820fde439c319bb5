"""The query of a list or a live stream of messages, from the address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streams.connect.access.refusals import BadRequest, Forbidden
from streams.core.clock import Clock
from streams.core.settings import Settings
from streams.core.topics.topology import Topology
from streams.core.types import LogReader
from streams.core.words.record_key import record_key
from streams.engine.decode.codecs import Limits
from streams.http.console.access.authorizer import Principal
from streams.http.console.parameters import Parameters
from streams.http.console.topics.topics import TENANTS_KINDS
from streams.operate.messages.condition import TEXT_MAX, Condition
from streams.operate.messages.log_bound import LogBound, log_bound
from streams.operate.messages.message_filter import MessageFilter
from streams.operate.messages.selection import TopicMessages
from streams.operate.topics.topic_descriptions import kinds

PAGE_RECORDS: Final = 500
"""Decoded between two turns of the event loop: some milliseconds."""
PARTITIONS_MAX: Final = 1_000_000
TOPIC_CHARS_MAX: Final = 249
"""Kafka's limit."""
PLACE_CHARS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """``asked``: the parameters as written, the same for the same query."""

    topic: str
    filter: MessageFilter
    start: LogBound
    until: LogBound
    partition: int | None
    asked: tuple[str, ...]

    def reading(
        self, topology: Topology, settings: Settings, clock: Clock, reader: LogReader
    ) -> TopicMessages:
        return TopicMessages(
            self.topic,
            self.filter,
            topology,
            Limits(settings.future_max_s, settings.late_max_s),
            clock,
            reader,
            self.start,
            self.until,
            self.partition,
            PAGE_RECORDS,
        )


def message_query(
    holder: Principal, given: Parameters, topology: Topology, now_s: float
) -> MessageQuery:
    """Raises `BadRequest` and `UsageError` for unreadable parameters, and `Forbidden`."""
    topic = given.text("topic", TOPIC_CHARS_MAX)
    if topic is None:
        raise BadRequest("the parameter topic is missing")
    require_readable(holder, topic, topology)
    tenant = given.tenant()
    if tenant is not None:
        tenant = holder.tenant(tenant)
    key, code = given.optional("key"), given.optional("code")
    where, contains = given.text("where", TEXT_MAX), given.text("contains", TEXT_MAX)
    start, until = given.text("from", 40), given.text("to", 40)
    partition = given.maybe_number("partition", PARTITIONS_MAX)
    chosen = MessageFilter(
        tenant=tenant,
        key=None if key is None else record_key(key, "key"),
        code=code,
        text=contains,
        where=None if where is None else Condition.parse(where, "where"),
        owner=holder.token.tenant,
    )
    asked = (tenant, key, code, where, contains, start, until, partition)
    return MessageQuery(
        topic,
        chosen,
        log_bound(start, "from", now_s),
        log_bound(until, "to", now_s),
        partition,
        (topic, *("" if one is None else str(one) for one in asked)),
    )


def require_readable(holder: Principal, topic: str, topology: Topology) -> None:
    """A bound token reads the topics whose records name their tenant. Raises `Forbidden`."""
    if holder.token.tenant is not None and kinds(topology).get(topic) not in TENANTS_KINDS:
        raise Forbidden("a token of one tenant reads source topics and their dead letters only")


def place_parts(text: str) -> tuple[str, int, int]:
    """Topic, partition and offset of ``topic/partition/offset``. Raises `BadRequest`."""
    topic, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    numbers = [partition, offset]
    if not topic or not all(one.isascii() and one.isdigit() and len(one) <= 18 for one in numbers):
        raise BadRequest("place is TOPIC/PARTITION/OFFSET")
    return topic, int(partition), int(offset)
