"""Job engines with one thing wrong each; see streams/simulation/broken.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from streams.runtime.job_partition import JobPartition
from streams.runtime.refused_facts import RefusedFacts
from streams.runtime.refused_row import RefusedFact
from streams.simulation.variant import Variant, replaced
from tables.finished_offsets import FinishedOffsets
from tables.outbox import Outbox
from tables.outcomes import Outcomes


_finish = FinishedOffsets.finish


def _nothing_loaded(self: Any, items: Iterable[tuple[bytes, bytes]]) -> None:
    del self, items


def _not_rewritten(self: Outcomes, key: bytes, value: bytes) -> None:
    del self, key, value


@contextmanager
def _offset_runs_ahead() -> Iterator[None]:
    """What was read counts as finished, as an ordinary consumer commits it."""
    real = JobPartition._pass

    def passed(self: JobPartition) -> None:
        for read in self._passing:
            if read.offset not in self.finished:
                self.finished.finish(read.offset, "applied")
        real(self)

    with (
        patch.object(JobPartition, "_pass", passed),
        patch.object(FinishedOffsets, "finish", _finished_again),
    ):
        yield


def _finished_again(self: FinishedOffsets, offset: int, verdict: str) -> None:
    if offset not in self:
        _finish(self, offset, verdict)


@contextmanager
def _repeats_run_too() -> Iterator[None]:
    """A repeat of a key that still runs is taken for a request of its own."""
    real = JobPartition._judge

    def judge(self: JobPartition, row: int, request: Any) -> None:
        running = self._running.pop(request.identity, [])
        real(self, row, request)
        if running:
            self._running[request.identity] = running + self._running.get(request.identity, [])

    with patch.object(JobPartition, "_judge", judge):
        yield


def _forgotten_in_time(self: Outcomes, append_ms: int) -> None:
    """Outcomes expire as if nobody could repeat a key later than half of its time."""
    self._horizon_ms = max(self._horizon_ms, append_ms - self._ttl_ms // 2)


def _facts_unburied(self: RefusedFacts, outbox: Outbox) -> list[RefusedFact]:
    effects, self._effects = self._effects, []
    for key, seq, _ in effects:
        outbox.acknowledged(key, seq)
    return []


VARIANTS: Mapping[str, Variant] = {
    "offset_ahead_of_the_prefix": _offset_runs_ahead,
    "finished_offsets_not_restored": replaced(FinishedOffsets, load=_nothing_loaded),
    "outcomes_not_restored": replaced(Outcomes, load=_nothing_loaded, rewrite=_not_rewritten),
    "repeats_of_running_keys_run": _repeats_run_too,
    "refused_facts_forgotten": replaced(RefusedFacts, settle=_facts_unburied),
    "outcomes_expire_early": replaced(Outcomes, passed=_forgotten_in_time),
}
"""By name, what is wrong."""
