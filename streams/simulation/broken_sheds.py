"""Shedding with one thing wrong each (streams/simulation/broken.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from streams.clock import Clock
from streams.runtime import effects
from streams.runtime.owed import Owed
from streams.runtime.partition import Partition
from streams.runtime.progress import Progress
from streams.runtime.shed_desk import ShedPlan
from streams.runtime.shed_order import ShedOrder
from streams.simulation import sheds
from streams.simulation.variant import Variant, replaced
from streams.types import CommittedOffset


def _uncounted(self: Progress, order: ShedOrder) -> None:
    self.fold_offset = order.until


def _shed_whenever_read(self: Partition, order: ShedOrder) -> None:
    """Nobody asks the offset whether it was done: an order counts as often as it is read."""
    if order.withdrawn:
        return
    first = max(0, min(self.progress.fold_offset, order.until - 3))
    self.progress.read += order.until - first
    self.progress.shed += order.until - first
    self.progress.fold_offset = max(self.progress.fold_offset, order.until)
    row = effects.shed_range(self.agent.group, self.tp, self.state.link.epoch, first, order)
    self._owed.fact(effects.SHED_RANGES, row, None)


async def _offset_moved_by_hand(
    broker: Any, clock: Clock, plans: Iterable[ShedPlan], order_id: str, actor: str, reason: str
) -> None:
    """As `kafka-consumer-groups --reset-offsets` does it."""
    del clock, order_id, actor, reason
    for plan in plans:
        broker._cluster.commit_offsets(plan.group, {plan.tp: CommittedOffset(plan.until, "")})


def _unsaid(real: Any) -> Any:
    def fact(self: Owed, table: str, row: Mapping[str, Any], name: str | None) -> None:
        if table != effects.SHED_RANGES:
            real(self, table, row, name)

    return fact


BROKEN_SHEDS: Mapping[str, Variant] = {
    "shed_without_the_ledger": replaced(Progress, skipped=_uncounted),
    "shed_whenever_it_is_read": replaced(Partition, shed=_shed_whenever_read),
    "shed_by_moving_the_offset": replaced(sheds, give_orders=_offset_moved_by_hand),
    "shed_without_saying_so": replaced(Owed, fact=_unsaid(Owed.fact)),
}
