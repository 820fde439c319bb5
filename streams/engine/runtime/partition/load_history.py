"""The rows of `load_history` and `usage_history` that a commit owes (docs/capacity.md).

A sample of usage has cumulative processor time and momentary values, so a repeated one doubles
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog

from streams.core.process.process_usage import ProcessUsage, Usage
from streams.core.rows.operational_tables import LOAD_HISTORY, USAGE_HISTORY
from streams.core.settings import Settings
from streams.core.types import TopicPartition
from streams.engine.agents.job_agent import Agent
from streams.engine.runtime.effects.owed import Owed
from streams.engine.runtime.partition.load_count import LoadCount
from streams.engine.state.load_run import SLOT_MS, LoadRun

log = structlog.get_logger(__name__)


class LoadStanding(NamedTuple):
    """``fill``: of the fullest bounded buffer; 1.0 is the bound."""

    lag_records: int
    behind_s: float
    fill: float


@dataclass(slots=True)
class LoadHistory:
    """``slot``: the interval of the last sample, at first that in which the partition opened."""

    place: dict[str, Any]
    """the columns that name the partition"""
    intake: LoadCount
    slot: int
    process: ProcessUsage = field(default_factory=ProcessUsage)
    rows: int = 0
    """rows owed or emitted since the last sample"""
    _fill: float = 0.0

    @classmethod
    def of(
        cls, agent: Agent, tp: TopicPartition, run: LoadRun, settings: Settings, now_ms: int
    ) -> LoadHistory:
        """``run``: in progress at the partition's last commit."""
        intake = LoadCount(bool(settings.load_history), agent.source.key_is_tenant, run)
        place = {"grp": agent.group, "agent": agent.name, "topic": tp.topic, "part": tp.partition}
        return cls(place, intake, now_ms // SLOT_MS)

    def owe(self, owed: Owed, next_offset: int, now_ms: int, standing: LoadStanding) -> None:
        if not self.intake.on:
            return
        for run, to_offset in self.intake.take_shown(next_offset, now_ms):
            for row in _rows(run, to_offset):
                owed.fact(LOAD_HISTORY, {**self.place, **row}, None)
        self._fill = max(self._fill, standing.fill)
        self.rows += owed.taken_rows()
        slot = now_ms // SLOT_MS
        # Else a clock that was ahead once would hold back the samples for as long.
        if not self.slot - 1 <= slot <= self.slot:
            self.slot = slot
            self._owe_sample(owed, standing)

    def _owe_sample(self, owed: Owed, standing: LoadStanding) -> None:
        """No sample where the system does not tell the usage, for example without a free file descriptor: the
        commit goes on."""
        try:
            used = self.process.read()
        except OSError as error:
            log.warning(
                "usage_unread", topic=self.place["topic"], part=self.place["part"], why=str(error)
            )
            return
        owed.fact(USAGE_HISTORY, {**self.place, **self._sample(used, standing)}, None)
        self.rows, self._fill = 0, 0.0

    def _sample(self, used: Usage, standing: LoadStanding) -> dict[str, Any]:
        return {
            "w": self.slot * SLOT_MS,
            "process": self.process.name,
            "started": self.process.started_ms,
            "cpu_s": used.cpu_s,
            "memory_bytes": used.memory_bytes,
            "lag_records": standing.lag_records,
            "behind_s": max(0.0, standing.behind_s),
            "fill": self._fill,
            "rows": self.rows,
        }


def _rows(run: LoadRun, to_offset: int) -> Iterator[dict[str, Any]]:
    """One for each tenant of the run."""
    for tenant, (events, size) in run.tenants.items():
        if events:
            yield {
                "from_offset": run.from_offset,
                "to_offset": to_offset,
                "tenant": tenant,
                "w": run.start_ms,
                "events": events,
                "bytes": size,
            }
