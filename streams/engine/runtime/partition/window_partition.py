"""An assigned partition of a window agent (docs/protocols/windows.md).

 G1  the watermark before each record decides whether it is late     `before_ms`
 G2  close due windows: final row, deletion and sends in one commit  `_advance`
 G3  owe rows of changed live windows each emit interval             `_owe`

Rows are facts in the outbox with the version of the commit that wrote their state: a later row
replaces them and repeats are harmless.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.core.errors import DiaError
from streams.core.rows.targets import RowTarget, RowValues
from streams.core.topics.current_stream import NoTables
from streams.core.types import OutboundRecord
from streams.engine.agents.agent import EventBatch
from streams.engine.agents.window_agent import WindowAgent
from streams.engine.engine_tables import HELD_WINDOWS
from streams.engine.runtime.effects.refused_close import RefusedClose, refused_close
from streams.engine.runtime.offsets.close_order import CloseOrder
from streams.engine.runtime.partition.partition import Partition, Prepared
from streams.engine.runtime.partition.staged import Staged
from streams.engine.runtime.partition.window_calls import WindowCalls
from streams.engine.state.changelog import Link
from streams.engine.streams.window_aggregates import AggregatedWindows
from streams.engine.windows.aggregated.aggregate_table import AggregateTable, WindowRow
from streams.engine.windows.held_windows import HeldWindows
from streams.engine.windows.minutes.emission import Emission

_EARLY_FILL: Final = 0.25
"""above this fill ratio of the outbox, rows of live windows wait"""


class WindowPartition(Partition):
    """Also the `WindowScope` of its agent."""

    failure: DiaError | None
    tables: Mapping[str, Any] = NoTables(
        "on_window_close runs after the events of its window. Use the values it is given."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        agent = self.agent
        assert isinstance(agent, WindowAgent)
        self._declared: list[tuple[AggregatedWindows, AggregateTable]] = [
            (declared, self.table(declared.spec)) for declared in agent.windows
        ]
        self._held_windows = self.table(HELD_WINDOWS)
        self._calls = WindowCalls(self, agent.windows, self._held_windows)
        self.held = self._calls.held
        self._shown_at_s = float("-inf")
        self._early = True
        """no shard is spared: rows of live windows may be owed"""

    @property
    def _tables(self) -> Iterator[AggregateTable | HeldWindows]:
        yield from (table for _, table in self._declared)
        yield self._held_windows

    # --- G1 ----------------------------------------------------------------------------------

    def before_ms(self, batch: EventBatch[Any]) -> NDArray[np.int64]:
        reached = np.minimum(batch.event_ms, batch.append_ms)
        before = np.r_[self.progress.watermark_ms, reached[:-1]]
        return np.asarray(np.maximum.accumulate(before), np.int64)

    def dropped(self, records: int) -> None:
        self.late_dropped += records

    # --- G2 ----------------------------------------------------------------------------------

    def _advance(self) -> None:
        super()._advance()
        if self.failure is not None:
            return
        for declared, table in self._declared:
            table.advance(self.progress.watermark_ms)
            for window in table.take_closed():
                self._fact(declared, window, closed=True)
                if declared.on_window_close is not None and self.failure is None:
                    self._calls.close(declared, window)
        self._calls.try_held()

    def _fact(self, declared: AggregatedWindows, window: WindowRow, *, closed: bool) -> None:
        own = declared.row(self.tp.partition, *window[:3], closed=closed)
        self.fact(declared.table, {**own, **window.row})

    def emit(self, record: OutboundRecord) -> None:
        calling = self._calls.staged
        (self._records if calling is None else calling.sent).append(record)

    def fact(self, target: str | RowTarget, row: RowValues, *, name: str | None = None) -> None:
        if self._calls.staged is None:
            super().fact(target, row, name=name)
            return
        found, fitted = self.state.context.targets.fitted(target, row, name)
        self._calls.staged.facts.append(partial(self._owed.fact, found, fitted, name))

    def join_call(self, staged: Staged) -> None:
        """What a successful call sent and owes joins the next commit."""
        staged.join(self._records)

    def bury_close(self, refused: RefusedClose) -> None:
        """The dead letter of a window whose callback failed joins the next commit, too."""
        letter = refused_close(
            self.agent, self.state, refused, self.progress.last_offset, self.clock.now_ms()
        )
        self._keep(letter)
        self._refused_closes[refused.error.code] += 1

    def take_close_order(self, order: CloseOrder) -> None:
        if order.epoch == self.state.link.epoch:
            self._calls.held.take_order(order)

    @property
    def partition(self) -> int:
        return self.tp.partition

    # --- G3 ----------------------------------------------------------------------------------

    def has_changes(self) -> bool:
        """False for a failed partition: it must not commit."""
        due = super().has_changes() or any(table.changed for table in self._tables)
        return self.failure is None and (due or self._early_due())

    def _early_due(self) -> bool:
        return self._may_show() and any(table.has_news for _, table in self._declared)

    def _may_show(self) -> bool:
        settings = self.settings
        waited_s = self.clock.monotonic() - self._shown_at_s
        return (
            self._early
            and not self.backlog.reading
            and waited_s >= settings.early_rows_every_s()
            and self.outbox.bytes_used <= _EARLY_FILL * settings.max_unacked_bytes
        )

    def prepare(self, room: Sequence[int], spared: Container[int] = ()) -> Prepared:
        self._look_at(room, spared)
        return super().prepare(room, spared)

    def take_emissions(self, room: Sequence[int], spared: Container[int] = ()) -> list[Emission]:
        # Called between commits too, so that a pause of these rows ends by itself.
        self._look_at(room, spared)
        return super().take_emissions(room, spared)

    def _look_at(self, room: Sequence[int], spared: Container[int]) -> None:
        self._early = not any(shard in spared for shard in range(len(room)))

    def _owe(self, seq: int, link: Link) -> None:
        if self._may_show():
            self._shown_at_s = self.clock.monotonic()
            for declared, table in self._declared:
                for window in table.take_early(self.settings.emit_rows_max):
                    self._fact(declared, window, closed=False)
        super()._owe(seq, link)

    @property
    def settled(self) -> bool:
        open_ends = any(table.has_news for _, table in self._declared)
        changed = any(table.changed for table in self._tables)
        return not (open_ends or changed) and super().settled
