"""An operator's order to skip records: at most one for each partition (docs/protocols/shedding.md).

 X1  plan                                                               (shed/shed_admin.py)
 X2  `write_orders`, all partitions in one transaction
 X3  the owner reads its order after A1, and at intervals               (runtime/shed_watch.py)
 X4  `Partition.shed`: the fold offset becomes ``until``
 X5  the next commit (C2 to C4) makes it true
 X6  a crash before C3 leaves the order for the next owner

An order is void in another epoch than its own, whose offsets may be those of another log. It stays
beside the partition's offset (runtime/offsets/offset_words.py) for the audit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from streams.core.errors import UsageError
from streams.core.types import Admin, TopicPartition, TransactionalProducer
from streams.engine.runtime.offsets import offset_words

REASON_MAX = 300
ACTOR_MAX = 100
"""characters: brokers keep at most 4 KiB of metadata with an offset"""


class ShedOrder(Struct, frozen=True, kw_only=True):
    """Skip the records below offset ``until``. ``id`` is common to the orders of one command;
    ``before_ms`` is its cutoff in append time.

    ``first``: the only fold offset at which the order applies, as the records up to ``until`` are
    unreadable (runtime/partition/obstacle.py). ``last_offset`` and ``last_append_ms`` identify the
    last record below ``until``; -1: none.
    """

    id: str
    until: int
    epoch: int
    last_offset: int
    last_append_ms: int
    before_ms: int
    at_ms: int
    actor: str
    reason: str
    withdrawn: bool = False
    first: int | None = None

    def covers(self, offset: int, epoch: int) -> bool:
        """Whether the order skips ``offset``, if that is the next to fold in ``epoch``."""
        by_place = self.first is None or self.first == offset
        return not self.withdrawn and self.epoch == epoch and offset < self.until and by_place


def check_words(actor: str, reason: str) -> None:
    """Raises `UsageError` for an empty or too long actor or reason."""
    for name, text, most in (("actor", actor, ACTOR_MAX), ("reason", reason, REASON_MAX)):
        if not text.strip() or len(text) > most:
            raise UsageError(f"--{name} takes 1 to {most} characters: the audit shows it.")


def orders_group(group: str) -> str:
    """The consumer group, and the producer, of the orders for ``group``."""
    return f"dia-shed-{group}"


async def read_orders(
    admin: Admin, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, ShedOrder]:
    return await offset_words.read(admin, orders_group(group), partitions, ShedOrder)


async def write_orders(
    producer: TransactionalProducer, group: str, orders: Mapping[TopicPartition, ShedOrder]
) -> None:
    """X2, by a started producer. Raises `ProducerFenced` or `CommitInDoubt`."""
    words = {tp: (order.until, order) for tp, order in orders.items()}
    await offset_words.write(producer, orders_group(group), words)
