"""An operator's order that held windows close without their `on_window_close`: at most one for each
partition (docs/protocols/held_closes.md, H5).

It stays beside the partition's offset (runtime/offsets/offset_words.py), where each owner reads it when it
opens the partition, and at intervals. To carry it out again does nothing: the windows are gone. It covers no
window that becomes due later, and is void in another epoch than its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from streams.core.types import Admin, TopicPartition, TransactionalProducer
from streams.engine.runtime.offsets import offset_words
from streams.engine.state.key_owners import Owner


class CloseOrder(Struct, frozen=True, kw_only=True):
    """Of windows of ``table`` that were due by ``before_ms`` of event time, their end and the time for late
    events. ``tenant``: "" for those that no single tenant made, None for all.

    ``untried``: also those whose `on_window_close` was not called, as its call does not return.
    """

    id: str
    epoch: int
    table: str
    tenant: str | None
    before_ms: int
    untried: bool
    at_ms: int
    actor: str
    reason: str

    def covers(self, table: str, owner: Owner, due_ms: int) -> bool:
        """A window of event time ``due_ms``, at which it closes."""
        whose = self.tenant is None or self.tenant == (owner or "")
        return whose and table == self.table and due_ms <= self.before_ms


def close_group(group: str) -> str:
    """The consumer group, and the producer, of the orders for ``group``."""
    return f"dia-closes-{group}"


async def read_close_orders(
    admin: Admin, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, CloseOrder]:
    return await offset_words.read(admin, close_group(group), partitions, CloseOrder)


async def write_close_orders(
    producer: TransactionalProducer, group: str, orders: Mapping[TopicPartition, CloseOrder]
) -> None:
    """By a started producer. Raises `ProducerFenced` or `CommitInDoubt`."""
    words = {tp: (0, order) for tp, order in orders.items()}
    await offset_words.write(producer, close_group(group), words)
