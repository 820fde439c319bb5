"""The engine's own tables, with their prefixes in store and changelog."""

from __future__ import annotations

from typing import Final

from streams.engine.identities.seen_events import SeenEvents
from streams.engine.state.finished_offsets import FinishedOffsets
from streams.engine.state.outbox import Outbox
from streams.engine.state.outcomes import Outcomes
from streams.engine.state.table import TableContext, TableSpec
from streams.engine.windows.held_windows import HeldWindows
from streams.engine.windows.minutes.known_series import SeriesQuota
from streams.engine.windows.minutes.minute_windows import MinuteWindows, WindowPolicy


def _seen_events(context: TableContext) -> SeenEvents:
    settings = context.settings
    return SeenEvents(
        settings.dedupe_ttl_s * 1000,
        context.files,
        context.epoch,
        settings.max_ids,
        settings.hot_ids,
        settings.quota_ids,
    )


def _minute_windows(context: TableContext) -> MinuteWindows:
    settings = context.settings
    policy = WindowPolicy(
        grace_ms=settings.grace_s * 1000,
        late_hold_s=settings.late_hold_s,
        m1_retention_ms=settings.m1_retention_days * 86_400_000,
        emit_rows_max=settings.emit_rows_max,
        max_live=settings.max_live_windows,
        series=SeriesQuota(settings.max_series, settings.quota_series, settings.quota_new_series),
    )
    return MinuteWindows(context.partition, context.epoch, context.shards, context.shard_of, policy)


def _outcomes(context: TableContext) -> Outcomes:
    settings = context.settings
    return Outcomes(
        settings.dedupe_ttl_s * 1000, settings.max_outcome_bytes, settings.quota_outcome_bytes
    )


SEEN_EVENTS: Final = TableSpec("seen_events", b"I", _seen_events)
MINUTE_WINDOWS: Final = TableSpec("minute_windows", b"W", _minute_windows)
FINISHED_OFFSETS: Final = TableSpec("finished_offsets", b"P", lambda context: FinishedOffsets())
OUTCOMES: Final = TableSpec("outcomes", b"K", _outcomes)
HELD_WINDOWS: Final = TableSpec(
    "held_windows", b"H", lambda context: HeldWindows(context.settings.max_table_bytes)
)
OUTBOX: Final = TableSpec("outbox", b"O", lambda context: Outbox())

ENGINE_TABLES: Final = frozenset(
    spec.name
    for spec in (FINISHED_OFFSETS, HELD_WINDOWS, MINUTE_WINDOWS, OUTBOX, OUTCOMES, SEEN_EVENTS)
)
"""names that tables of apps must not have"""
