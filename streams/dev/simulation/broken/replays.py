"""Replays with one defect each (streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from streams.core.records import headers
from streams.core.types import CommittedOffset, OutboundRecord, TopicPartition
from streams.dev.simulation.variant import Variant, replaced
from streams.operate.replay.journal import dead_letter_mark, owner
from streams.operate.replay.journal.dispositions import Dispositions
from streams.operate.replay.journal.owner import QueueOwner, decided_group
from streams.operate.replay.run import outgoing
from streams.operate.replay.run.disposition_publisher import DispositionPublisher


async def _journal_apart(
    self: QueueOwner, records: Sequence[OutboundRecord], entries: Sequence[OutboundRecord], seq: int
) -> None:
    """The journal is written in its own transaction."""
    if records:
        await self._producer.begin()
        await (await self._producer.send_many(records))
        await self._producer.commit()
    await self._producer.begin()
    await (await self._producer.send_many(entries))
    await self._producer.send_offsets(*_decided_of(self, seq))
    await self._producer.commit()


def _decided_of(owner: QueueOwner, seq: int) -> tuple[dict[TopicPartition, CommittedOffset], str]:
    """The number of the newest decision, kept beside the journal."""
    return {owner.dlq: CommittedOffset(seq, "")}, decided_group(owner.source)


@contextmanager
def _replays_not_fenced() -> Iterator[None]:
    numbers = itertools.count()
    with patch.object(
        owner, "transactional_id", lambda source, partition: f"replay-{next(numbers)}"
    ):
        yield


def _nothing_decided(self: Dispositions, offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.zeros(len(offsets), np.uint8)


def _replay_headers_without(left_out: str) -> Variant:
    real = outgoing.replay_headers

    def said(letter: Any, plan: str) -> Any:
        return tuple(pair for pair in real(letter, plan) if pair[0] != left_out)

    return replaced(outgoing, replay_headers=said)


async def _arrears_forgotten(self: DispositionPublisher) -> None:
    """The rows of an earlier owner are never written."""


async def _parked_apart(
    self: QueueOwner, records: Sequence[OutboundRecord], entries: Sequence[OutboundRecord], seq: int
) -> None:
    """Copies for the parking lot are sent before the decision is recorded."""
    lot = self.source.parked
    parked = [record for record in records if record.tp.topic == lot]
    if parked:
        await self._producer.begin()
        await (await self._producer.send_many(parked))
        await self._producer.commit()
    await self._producer.begin()
    rest = [record for record in records if record.tp.topic != lot]
    await (await self._producer.send_many([*rest, *entries]))
    await self._producer.send_offsets(*_decided_of(self, seq))
    await self._producer.commit()


async def _whatever_lies_there(*_: object) -> bool:
    """Decisions hold for the letters at their offsets, whichever topic these are of."""
    return True


BROKEN_REPLAYS: Mapping[str, Variant] = {
    "a_new_queue_taken_for_the_old": replaced(dead_letter_mark, _found=_whatever_lies_there),
    "replays_outside_the_transaction": replaced(QueueOwner, _transaction=_journal_apart),
    "parked_outside_the_transaction": replaced(QueueOwner, _transaction=_parked_apart),
    "replays_not_fenced": _replays_not_fenced,
    "dispositions_not_restored": replaced(Dispositions, codes=_nothing_decided),
    "replayed_as_if_new": _replay_headers_without(headers.REPLAY_APPEND_TS),
    "hops_not_counted": _replay_headers_without(headers.REPLAY_HOPS),
    "dispositions_shown_once_or_never": replaced(DispositionPublisher, catch_up=_arrears_forgotten),
}
