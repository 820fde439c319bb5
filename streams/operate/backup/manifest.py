"""The manifest of one backup: what it holds, and what makes it whole."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from streams.connect.sinks.backups.server import LedgerOffset, StoredSize
from streams.connect.sinks.backups.stored_table import RowDigest, StoredTable
from streams.connect.sinks.map_record import DayState, MapRecord, RecordedMap

FORMAT: Final = 1
NOT_BACKED_UP: Final = (
    "Kafka: source topics, changelogs, dead letters, journals (the truth of the state)",
    "RocksDB: restored from the changelogs",
    "Redis: caches, filled again from their sources",
    "secrets: passwords, certificates, hashes of access tokens",
    "spools of edges, and the console's list of operations",
)


class TableRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Digests of one table, by bucket (a day, or a share of the keys). ``settled`` ones were the
    same before and after the server's BACKUP, so the backup has exactly these. Of ``moving`` ones
    the two are bounds."""

    form: StoredTable
    settled: dict[int, RowDigest]
    moving: dict[int, tuple[RowDigest, RowDigest]] = {}

    @property
    def rows(self) -> int:
        """At least."""
        return sum(one.rows for one in self.settled.values()) + sum(
            min(before.rows, after.rows) for before, after in self.moving.values()
        )


class ShardPart(msgspec.Struct, frozen=True, kw_only=True):
    """What one server wrote. ``index_sha256``: of ClickHouse's own list of files and checksums.
    ``base``: the backup that it builds on; "": none."""

    shard: int
    url: str
    version: str
    base: str
    began_ms: int
    ended_ms: int
    size: StoredSize
    index_sha256: str
    migrations: dict[str, str]
    tables: list[TableRecord]


class RecordedToken(msgspec.Struct, frozen=True, kw_only=True):
    """Who had access. Without the hash: it would let the holder of a backup test guesses."""

    id: str
    tenant: str | None
    role: str
    created_ms: int
    expires_ms: int | None
    name: str = ""


class Declarations(msgspec.Struct, frozen=True, kw_only=True):
    """SHA-256 of what the app declares: its topics with their settings, and its tables."""

    app: str
    topics: str
    tables: str


class ManifestMap(msgspec.Struct, frozen=True, kw_only=True):
    """``digest`` is that of `MapRecord.identity`. ``moved``: the days of a move that are done;
    ``returned``: those that were given up."""

    digest: str
    in_force: bool
    record: MapRecord
    moved: list[int] = []
    returned: list[int] = []

    @property
    def recorded(self) -> RecordedMap:
        given_up = dict.fromkeys(self.returned, DayState.RETURNED)
        states = dict.fromkeys(self.moved, DayState.DONE) | given_up
        return RecordedMap(self.record, self.in_force, states)


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """``base``: the backup that this one builds on; "": a full one. ``ledger`` was read before any
    part began."""

    name: str
    base: str
    began_ms: int
    ended_ms: int
    dia: str
    database: str
    maps: list[ManifestMap]
    ledger: list[LedgerOffset]
    dispositions: dict[str, int]
    tokens: list[RecordedToken]
    declarations: Declarations
    parts: list[ShardPart]
    undeclared: list[str] = []
    """tables of the database that the app does not declare; not in the backup"""
    not_backed_up: tuple[str, ...] = NOT_BACKED_UP

    @property
    def kind(self) -> str:
        return "incremental" if self.base else "full"

    @property
    def own_bytes(self) -> int:
        return sum(part.size.own_bytes for part in self.parts)

    @property
    def recorded_maps(self) -> list[RecordedMap]:
        return [one.recorded for one in self.maps]


class ManifestDamaged(Exception):  # noqa: N818 - a state that `dia backup list` shows
    """The file is not what was written."""


class _Envelope(msgspec.Struct, frozen=True):
    format: int
    sha256: str
    manifest: msgspec.Raw


def encode(manifest: BackupManifest) -> bytes:
    body = msgspec.json.encode(manifest)
    return msgspec.json.encode(_Envelope(FORMAT, sha256(body), msgspec.Raw(body)))


def decode(content: bytes) -> BackupManifest:
    """Raises `ManifestDamaged`."""
    try:
        envelope = msgspec.json.decode(content, type=_Envelope)
        if envelope.format != FORMAT:
            raise ManifestDamaged(f"format {envelope.format}, which another version of dia wrote")
        body = bytes(envelope.manifest)
        if sha256(body) != envelope.sha256:
            raise ManifestDamaged("its SHA-256 is another than it says")
        return msgspec.json.decode(body, type=BackupManifest)
    except msgspec.MsgspecError as error:
        raise ManifestDamaged(f"not a manifest: {error}") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a value as JSON with sorted keys."""
    return sha256(msgspec.json.encode(value, order="sorted"))
