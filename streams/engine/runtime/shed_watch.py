"""Looks for shed orders while partitions run (X3): one request per group every `LOOK_S`."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from streams.core.clock import Clock
from streams.core.errors import DiaError
from streams.core.types import Admin, Broker
from streams.engine.runtime.group import GroupMember
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

    async def _forget(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()
