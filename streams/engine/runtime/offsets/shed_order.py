"""An operator's order to skip records: at most one for each partition.

 X1  plan: for each partition the offsets from the committed one to the first record appended at or
     after the cutoff; changes nothing                                   (shed/shed_admin.py)
 X2  order: one transaction of producer `dia-shed-GROUP` writes the orders of all partitions
 X3  the owner reads its order when it opens the partition, after A1, and every
     `LOOK_S` from then on                                               (runtime/shed_watch.py)
 X4  if its fold offset is below ``until``, it becomes ``until``; the offsets between count as shed,
     and a row of `shed_ranges` is owed                   (runtime/partition/partition.py).
     An order with ``first`` is for unreadable records: it applies at exactly that fold offset
 X5  the next commit (C2 to C4) contains this, like anything folded
 X6  after a crash before C3 the next owner reads the order again (X3); after C3 the committed offset
     is at ``until`` and the order has no effect

So an order takes effect once, however often and by whichever owner it is read. It is void in
another epoch than its own, whose offsets may be those of another log. It stays beside the
partition's offset (runtime/offsets/offset_words.py) for the audit. See docs/protocols/shedding.md.
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
    """The last order of each partition that has one."""
    return await offset_words.read(admin, orders_group(group), partitions, ShedOrder)


async def write_orders(
    producer: TransactionalProducer, group: str, orders: Mapping[TopicPartition, ShedOrder]
) -> None:
    """X2, by a started producer. Raises `ProducerFenced` or `CommitInDoubt`."""
    words = {tp: (order.until, order) for tp, order in orders.items()}
    await offset_words.write(producer, orders_group(group), words)
