"""Source readers with one defect each (streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from streams.connect.broker.memory.consumer import MemoryConsumer
from streams.connect.broker.memory.log import Log
from streams.core.errors import BatchUnreadable
from streams.core.rows.operational_tables import SHED_RANGES
from streams.core.types import RecordBatch, TopicPartition
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.runtime.assigned import AssignedPartition
from streams.engine.runtime.effects import effects
from streams.engine.runtime.effects.dead_letters import Origin
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.runtime.partition import obstacle
from streams.engine.runtime.partition.partition import Partition
from streams.engine.runtime.restore.source_check import Appended
from streams.engine.runtime.restore.source_watch import SourceWatch


def _fold_what_comes(self: AssignedPartition, batch: RecordBatch) -> None:
    """A batch that begins ahead is folded, and the hole counted as gaps."""
    partition = self.partition
    if partition is None or not self.taking:
        return
    batch.start = min(batch.start, partition.position)
    _fold(self, batch)


_fold = AssignedPartition.fold


@contextmanager
def _unreadable_passed_over() -> Iterator[None]:
    """Unreadable batches are skipped, as aiokafka does with a torn record set."""
    real = Log.read_committed

    def read(self: Log, offset: int, max_records: int, *end: int) -> RecordBatch:
        try:
            return real(self, offset, max_records, *end)
        except BatchUnreadable as error:
            return RecordBatch(self.tp, offset, error.until)

    with patch.object(Log, "read_committed", read):
        yield


@contextmanager
def _neighbours_lists_lost() -> Iterator[None]:
    """An error of one partition drops the batches of others, whose positions stay moved."""
    real = MemoryConsumer._fetch

    def fetch(self: MemoryConsumer, max_records: int) -> dict[TopicPartition, RecordBatch]:
        fetched = real(self, max_records)
        failing = [
            tp
            for tp, state in self._assigned.items()
            if state.position is not None
            and any(state.position in spoilt for spoilt in self._cluster.log(tp).spoilt)
        ]
        return {} if failing else fetched

    with (
        patch.object(MemoryConsumer, "_fetch", fetch),
        patch.object(AssignedPartition, "fold", _fold_what_comes),
    ):
        yield


def _order_taken_anywhere(self: Partition, order: ShedOrder) -> None:
    """An order for one batch is applied at any position."""
    first = self.progress.fold_offset
    if order.withdrawn or order.epoch != self.state.link.epoch or first >= order.until:
        return
    self.progress.skipped(order)
    row = effects.shed_range(self.agent.group, self.tp, order.epoch, first, order)
    self._owed.fact(SHED_RANGES, row, None)


def _of_whatever_record(self: Appended, offset: int) -> int:
    """The epoch of the last folded record is required of the last shed one."""
    del offset
    return self.epoch


def _never_past(*_: object) -> bool:
    """A commit of another process past the batch is not looked at."""
    return False


def _same_ids_in_every_epoch(
    cls: type[Origin], batch: RecordBatch, position: int, epoch: int
) -> Origin:
    """The row of a dead letter replaces that of another epoch at its offset."""
    del cls, epoch
    return _origin(batch, position, 0)


_origin = Origin.of


BROKEN_SOURCES: Mapping[str, Variant] = {
    "dead_letters_of_epochs_mixed_up": replaced(Origin, of=classmethod(_same_ids_in_every_epoch)),
    "a_passed_batch_waited_for": replaced(obstacle, is_past=_never_past),
    "a_hole_booked_as_gaps": replaced(AssignedPartition, fold=_fold_what_comes),
    "unreadable_passed_over": _unreadable_passed_over,
    "lists_of_neighbours_thrown_away": _neighbours_lists_lost,
    "skipped_from_wherever_it_stands": replaced(Partition, shed=_order_taken_anywhere),
    "a_replaced_log_folded_on": replaced(SourceWatch, suspects=lambda *_: False),
    "a_shed_range_taken_for_another_log": replaced(Appended, epoch_at=_of_whatever_record),
}
