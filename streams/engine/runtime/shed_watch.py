"""Looks for orders of operators while partitions run, one request of each kind per group every `LOOK_S`: to
shed records (X3), and to drop held windows (docs/protocols/held_closes.md, H5)."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from streams.core.clock import Clock
from streams.core.errors import DiaError
from streams.core.types import Admin, Broker
from streams.engine.runtime.group import GroupMember
from streams.engine.runtime.offsets.close_order import read_close_orders
from streams.engine.runtime.offsets.shed_order import read_orders

LOOK_S = 5.0

log = structlog.get_logger(__name__)


class ShedWatch:
    def __init__(self, broker: Broker, clock: Clock, groups: Sequence[GroupMember]) -> None:
        self._broker = broker
        self._clock = clock
        self._groups = groups
        self._admin: Admin | None = None

    async def run(self) -> None:
        try:
            while True:
                await self._clock.sleep(LOOK_S)
                try:
                    await self._look()
                except DiaError as error:
                    log.info("shed_orders_unavailable", code=error.code, why=str(error))
                    await self._forget()
        finally:
            await self._forget()

    async def _look(self) -> None:
        if self._admin is None:
            self._admin = await self._broker.admin()
        for group in self._groups:
            asked = [tp for tp, held in group.partitions.items() if held.sheds]
            orders = await read_orders(self._admin, group.group, asked)
            for tp, order in orders.items():
                if (held := group.partitions.get(tp)) is not None:
                    held.shed(order)
            await self._drop_windows(self._admin, group)

    async def _drop_windows(self, admin: Admin, group: GroupMember) -> None:
        asked = [
            tp for tp, held in group.partitions.items() if held.partition and held.partition.held
        ]
        if not asked:
            return
        orders = await read_close_orders(admin, group.group, asked)
        for tp, order in orders.items():
            held = group.partitions.get(tp)
            if held is not None and held.partition is not None:
                held.partition.take_close_order(order)

    async def _forget(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()
