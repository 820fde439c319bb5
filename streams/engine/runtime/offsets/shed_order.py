"""What an operator decided not to process: one order a partition, carried to its owner.

 X1  plan: of each partition the offsets from the group's committed one up to the first record
     appended at or after the cutoff; nothing has changed                    (shed/shed_admin.py)
 X2  order: one transaction of producer `dia-shed-GROUP` writes those of all partitions, or none
 X3  the owner reads its order when it opens the partition, after A1, and every
     `LOOK_S` from then on                                               (runtime/shed_watch.py)
 X4  if its fold offset lies below ``until``, the fold offset becomes ``until``, what lies between
     counts as shed, and a row of `shed_ranges` is owed                  (runtime/partition/partition.py).
     An order with ``first`` is for what cannot be read: it is carried out at exactly that offset
 X5  that is in its next commit, C2 to C4, like anything else that was folded
 X6  a crash before C3 leaves the order as it was, for X3 of the next owner; after C3 the
     committed offset is at ``until``, and the order has nothing more to say

So an order may be read any number of times, by any number of owners, and takes effect once: what
says that it did is the offset, in the transaction that made it true. A fenced owner cannot commit
it. An order is void in another epoch than the one it was given in: its offsets may be another
log's. It lies beside the partition's offset (runtime/offsets/offset_words.py), and is left there, as the
answer to who did this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from streams.core.errors import UsageError
from streams.core.types import Admin, TopicPartition, TransactionalProducer
from streams.engine.runtime.offsets import offset_words

REASON_MAX = 300
ACTOR_MAX = 100
"""Characters: brokers keep at most 4 KiB of metadata beside an offset."""


class ShedOrder(Struct, frozen=True, kw_only=True):
    """Records below offset ``until`` are not worth processing. ``id`` names the orders that were
    given together; ``before_ms`` is the cutoff they follow from, in append time.

    ``first``, where given, is the only fold offset at which the order holds: what lies from there
    to ``until`` cannot be read (runtime/partition/obstacle.py).

    ``last_offset`` and ``last_append_ms`` identify the last record below ``until`` (-1: none was
    found), as a link does the last consumed one. Withdrawn orders are void.
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
    """Raises `UsageError` where an order would not say who gave it, or why."""
    for name, text, most in (("actor", actor, ACTOR_MAX), ("reason", reason, REASON_MAX)):
        if not text.strip() or len(text) > most:
            raise UsageError(f"--{name} takes 1 to {most} characters: the audit shows it.")


def orders_group(group: str) -> str:
    """The consumer group whose committed offsets are the orders for ``group``; also the name of
    the producer that writes them."""
    return f"dia-shed-{group}"


async def read_orders(
    admin: Admin, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, ShedOrder]:
    """The last order of each partition; those that never had one are absent."""
    return await offset_words.read(admin, orders_group(group), partitions, ShedOrder)


async def write_orders(
    producer: TransactionalProducer, group: str, orders: Mapping[TopicPartition, ShedOrder]
) -> None:
    """X2, by a started producer. Raises `ProducerFenced` or `CommitInDoubt`."""
    words = {tp: (order.until, order) for tp, order in orders.items()}
    await offset_words.write(producer, orders_group(group), words)
