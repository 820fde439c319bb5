"""What is backed up beside the rows: maps, declarations, and who had access."""

from __future__ import annotations

from typing import Any

from streams.connect.access.tokens import TokenFile
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.view_source import WINDOWS
from streams.core.errors import RefusedBySafety
from streams.core.process.version import app_version
from streams.core.settings import Settings
from streams.core.types import TopicConfig
from streams.engine.app.app import App
from streams.operate.backup.create import BackedUp
from streams.operate.backup.manifest import Declarations, ManifestMap, RecordedToken, digest_of
from streams.operate.topics.declared_topics import declared_topics


def described(settings: Settings, app: App, known: KnownMaps) -> BackedUp:
    """Raises `UsageError` for settings of topics that are out of range, and for a file of tokens that
    cannot be read, and `RefusedBySafety` while a day moves."""
    maps = described_maps(known)
    topics = declared_topics(settings, app.topology).topics
    return BackedUp(
        dia=app_version(),
        database=settings.clickhouse_database,
        maps=maps,
        tokens=_tokens(settings),
        declarations=Declarations(
            app=app.name,
            topics=digest_of([_topic(one) for one in topics]),
            tables=digest_of(
                {
                    name: [table.create("dia", "ReplacingMergeTree(ver)")]
                    for name, table in app.clickhouse_tables.items()
                }
            ),
        ),
        tables=kept_days(app, settings),
    )


def kept_days(app: App, settings: Settings) -> dict[str, int | None]:
    """As `BackedUp.tables`."""
    windows = _kept_days(settings)
    return {
        **{f"{name}_local": table.ttl_days for name, table in app.clickhouse_tables.items()},
        **{f"{name}_local": days for name, days in windows.items()},
    }


def described_maps(known: KnownMaps) -> list[ManifestMap]:
    """Raises `RefusedBySafety` while a day moves."""
    if unfinished := [one.record for one in known.maps if one.unfinished]:
        raise RefusedBySafety(
            f"map {unfinished[0].version} moves {unfinished[0].day} now: its rows may be on two "
            "shards. `dia shards move` finishes it, then make a backup."
        )
    return [
        ManifestMap(
            digest=one.record.identity.digest,
            in_force=one.in_force,
            record=one.record,
            moved=one.shown,
            returned=one.returned,
        )
        for one in known.maps
    ]


def _kept_days(settings: Settings) -> dict[str, int]:
    """Of the windows, as V001__windows.sql and R001__retention.sql say."""
    days = dict(zip(WINDOWS, (settings.m1_retention_days, 400, 5 * 365), strict=True))
    assert tuple(days) == ("m1", "h1", "d1"), WINDOWS
    return days


def _topic(topic: TopicConfig) -> dict[str, Any]:
    return {
        "name": topic.name,
        "partitions": topic.partitions,
        "replication_factor": topic.replication_factor,
        "config": dict(topic.config),
    }


def _tokens(settings: Settings) -> list[RecordedToken]:
    """Those of this process's home; edges elsewhere have files of their own."""
    return [
        RecordedToken(
            id=token.id,
            tenant=token.tenant,
            role=token.role,
            created_ms=token.created_ms,
            expires_ms=token.expires_ms,
            name=token.name,
        )
        for token in TokenFile.of(settings.home_path(), settings.tokens_file).read()
    ]
