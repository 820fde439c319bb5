"""Shedding with one defect each (streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import Clock
from streams.core.rows.operational_tables import SHED_RANGES
from streams.core.rows.targets import RowTarget
from streams.core.types import CommittedOffset, OutboundRecord
from streams.dev.simulation.operators import sheds
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.runtime.effects import effects
from streams.engine.runtime.effects.owed import Owed
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.runtime.partition.partition import Partition
from streams.engine.runtime.partition.progress import Progress
from streams.operate.replay.shed_return import _Run
from streams.operate.shed.shed_admin import ShedPlan


def _uncounted(self: Progress, order: ShedOrder) -> None:
    self.fold_offset = order.until


def _shed_whenever_read(self: Partition, order: ShedOrder) -> None:
    """The committed offset is not compared: an order applies whenever it is read."""
    if order.withdrawn:
        return
    first = max(0, min(self.progress.fold_offset, order.until - 3))
    self.progress.read += order.until - first
    self.progress.shed += order.until - first
    self.progress.fold_offset = max(self.progress.fold_offset, order.until)
    row = effects.shed_range(self.agent.group, self.tp, self.state.link.epoch, first, order)
    self._owed.fact(SHED_RANGES, row, None)


async def _offset_moved_by_hand(
    broker: Any, clock: Clock, plans: Iterable[ShedPlan], order_id: str, actor: str, reason: str
) -> None:
    """As `kafka-consumer-groups --reset-offsets` does it."""
    del clock, order_id, actor, reason
    for plan in plans:
        broker._cluster.commit_offsets(plan.group, {plan.tp: CommittedOffset(plan.until, "")})


def _unsaid(real: Any) -> Any:
    def fact(self: Owed, target: RowTarget, row: dict[str, Any], name: str | None) -> None:
        if target.name != SHED_RANGES.name:
            real(self, target, row, name)

    return fact


async def _progress_apart(self: Any, copies: list[OutboundRecord], _began: int, at: int) -> None:
    """Progress is written after the copies."""
    await self.producer.begin()
    if copies:
        await (await self.producer.send_many(copies))
    await self.producer.commit()
    await self.producer.begin()
    await self.producer.send_offsets({self.span.tp: CommittedOffset(at, "")}, self.span.name)
    await self.producer.commit()


@contextmanager
def _returns_not_fenced() -> Iterator[None]:
    numbers = itertools.count()
    real = MemoryBroker.transactional_producer

    def unfenced(self: MemoryBroker, transactional_id: str) -> Any:
        own = transactional_id.startswith("dia-shed-order")
        return real(self, f"{transactional_id}-{next(numbers)}" if own else transactional_id)

    with patch.object(MemoryBroker, "transactional_producer", unfenced):
        yield


BROKEN_SHEDS: Mapping[str, Variant] = {
    "shed_without_the_ledger": replaced(Progress, skipped=_uncounted),
    "shed_whenever_it_is_read": replaced(Partition, shed=_shed_whenever_read),
    "shed_by_moving_the_offset": replaced(sheds, give_orders=_offset_moved_by_hand),
    "returned_outside_the_transaction": replaced(_Run, _transaction=_progress_apart),
    "returns_not_fenced": _returns_not_fenced,
    "shed_without_saying_so": replaced(Owed, fact=_unsaid(Owed.fact)),
}
