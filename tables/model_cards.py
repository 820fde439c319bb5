"""The models of a partition: one card each, with bounds that keep it one entry.

A model is *seen* with each result of it that is applied. One that was not seen for the retention
is forgotten, and its tenant may bring another in its place; a later result of it begins a new card. Age is
log time (streams/engine/state/log_time.py) over the events of the partition, with the retention as its TTL: so a broker's
clock that is ahead for a while forgets nothing, and what is forgotten follows from the log alone. It is
counted in whole steps, 32 of a retention, so that a batch seldom has events before and after one: a model
is forgotten when it is older than the retention by up to three of them. Log time is a part of the table's
state, the entry `_TIME_KEY`; the entry of a card is ``(seen_ms, card)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.core.records.model_card import Best, ModelCard, ModelVersion
from streams.engine.state.log_time import Expiry, LogTime, log_times
from streams.engine.state.shares import Shares
from streams.engine.state.table import Entry, TableContext, TableSpec

MAX_VERSIONS = 100
MAX_ALIASES = 50
MAX_METRICS = 100
MAX_METRIC_CHARS = 128
"""A card within these stays below half of `MAX_ENTRY_BYTES`, whatever its names are."""

_OVERHEAD = 6
"""Bytes of memory for each encoded byte, about: names and numbers become objects."""

RETENTION_MS: Final = 400 * 86_400_000
_TIME_KEY: Final = b"\0"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, ModelCard]).decode
_decode_time = msgspec.msgpack.Decoder(LogTime).decode


class EventSpan(NamedTuple):
    """Events from ``start`` to ``stop`` of a batch, of one step of log time. A model last seen before
    ``horizon_ms`` is forgotten when the first of them comes."""

    start: int
    stop: int
    at_ms: int
    horizon_ms: int


class ModelCards:
    """The `Table` of model cards (protocol: streams/engine/state/table.py)."""

    def __init__(self, max_models: int, quota: int = 0, retention_ms: int = RETENTION_MS) -> None:
        self._shares = Shares(max_models, quota)
        self._expiry = Expiry.of(retention_ms)
        self._log_time = LogTime()
        self._now_ms = 0
        self._time_changed = False
        self._cards: dict[bytes, ModelCard] = {}
        self._seen_ms: dict[bytes, int] = {}
        """log time of each card's last result in whole steps, in ascending order"""
        self._sizes: dict[bytes, int] = {}
        self._dirty: dict[bytes, None] = {}
        self._forgotten: dict[bytes, None] = {}
        """written, and gone since the last commit"""
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._cards)

    @property
    def bytes_used(self) -> int:
        return self._bytes * _OVERHEAD

    def spans(self, append_ms: NDArray[np.int64]) -> list[EventSpan]:
        """Cut the partition's next events, given their append times. `begin` each span in its turn."""
        if not len(append_ms):
            return []
        times, self._log_time = log_times(self._log_time, append_ms, self._expiry)
        self._time_changed = True
        steps = np.stack(times, axis=1) // self._expiry.step_ms
        starts = np.flatnonzero(np.diff(steps, axis=0, prepend=steps[:1] - 1).any(axis=1)).tolist()
        whole_ms = (steps[starts] * self._expiry.step_ms).tolist()
        cuts = pairwise([*starts, len(append_ms)])
        return [EventSpan(*cut, *ms) for cut, ms in zip(cuts, whole_ms, strict=True)]

    def begin(self, span: EventSpan) -> None:
        """Its events come now: forget, oldest first, what they no longer know."""
        self._now_ms = span.at_ms
        gone: list[bytes] = []
        for key, last_seen_ms in self._seen_ms.items():
            if last_seen_ms >= span.horizon_ms:
                break
            gone.append(key)
        for key in gone:
            del self._seen_ms[key]
            self._shares.give_back(self._cards.pop(key).tenant_id)
            self._dirty.pop(key, None)
            size = self._sizes.pop(key, None)
            if size is not None:  # it was written
                self._bytes -= size
                self._forgotten[key] = None

    def get(self, tenant_id: str, model_id: str) -> ModelCard | None:
        """The card as it is now; not to be changed by the caller."""
        return self._cards.get(_key(tenant_id, model_id))

    def run_completed(
        self, card: ModelCard, version: str, run_id: str, at_ms: int, metrics: Mapping[str, float]
    ) -> None:
        """A run ended and made ``version``."""
        known = self._version(card, version, at_ms)
        known.run_id = run_id
        for name, value in metrics.items():
            _compare(card, name, value, version)

    def alias_updated(self, card: ModelCard, version: str, alias: str, at_ms: int) -> None:
        """``alias`` names ``version`` from now on; past the bound, the alias set longest ago goes."""
        self._version(card, version, at_ms)
        card.aliases.pop(alias, None)
        card.aliases[alias] = version
        while len(card.aliases) > MAX_ALIASES:
            del card.aliases[next(iter(card.aliases))]

    def stage_transitioned(self, card: ModelCard, version: str, stage: str, at_ms: int) -> None:
        """``version`` is in ``stage`` from now on."""
        self._version(card, version, at_ms).stage = stage

    def room(self, tenant_id: str, others: int = 0) -> int:
        """How many new models the tenant may bring (streams/engine/state/shares.py), where
        ``others`` are about to be brought by others."""
        return self._shares.room(tenant_id, others)

    def open(self, tenant_id: str, model_id: str) -> ModelCard:
        """The card to change, of a model that is seen now: an empty one, if it is new."""
        key = _key(tenant_id, model_id)
        self._dirty[key] = None
        self._seen_ms.pop(key, None)  # its new place is the last
        self._seen_ms[key] = self._now_ms
        card = self._cards.get(key)
        if card is None:
            self._shares.take(tenant_id)
            card = self._cards[key] = ModelCard(tenant_id=tenant_id, model_id=model_id)
        return card

    def _version(self, card: ModelCard, version: str, at_ms: int) -> ModelVersion:
        known = card.versions.setdefault(version, ModelVersion())
        known.last_seen_ms = max(known.last_seen_ms, at_ms)
        if len(card.versions) > MAX_VERSIONS:
            named = set(card.aliases.values())
            # A reader cannot ask for an old version without name or stage; its runs are in ClickHouse.
            del card.versions[
                min(
                    (other for other in card.versions if other != version),
                    key=lambda other: (
                        other in named,
                        card.versions[other].stage is not None,
                        card.versions[other].last_seen_ms,
                        other,
                    ),
                )
            ]
        return known

    # --- Table -------------------------------------------------------------------------------

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in items:
            if key == _TIME_KEY:
                self._log_time = _decode_time(value)
                continue
            self._seen_ms[key], card = _decode(value)
            self._cards[key] = card
            self._shares.take(card.tenant_id)
            self._resize(key, len(value))
        self._seen_ms = dict(sorted(self._seen_ms.items(), key=lambda item: item[1]))

    def delta(self, seq: int) -> list[Entry]:
        gone = self._forgotten.keys() - self._dirty.keys()
        entries: list[Entry] = [(key, None) for key in self._forgotten if key in gone]
        for key in self._dirty:
            value = _encode((self._seen_ms[key], self._cards[key]))
            self._resize(key, len(value))
            entries.append((key, value))
        if self._time_changed:
            entries.append((_TIME_KEY, _encode(self._log_time)))
        self._dirty, self._forgotten, self._time_changed = {}, {}, False
        return entries

    def rewrite(self, key: bytes, value: bytes) -> None:
        if key == _TIME_KEY:
            self._time_changed = True
        elif key in self._cards:
            self._dirty[key] = None

    def _resize(self, key: bytes, size: int) -> None:
        self._bytes += size - self._sizes.get(key, 0)
        self._sizes[key] = size


def _compare(card: ModelCard, name: str, value: float, version: str) -> None:
    best = card.best.get(name)
    if best is None:
        if len(card.best) < MAX_METRICS and len(name) <= MAX_METRIC_CHARS:
            card.best[name] = Best(
                highest=value, highest_version=version, lowest=value, lowest_version=version
            )
        return
    if value > best.highest:
        best.highest, best.highest_version = value, version
    if value < best.lowest:
        best.lowest, best.lowest_version = value, version


def _key(tenant_id: str, model_id: str) -> bytes:
    return _encode((tenant_id, model_id))


def _open(context: TableContext) -> ModelCards:
    settings = context.settings
    return ModelCards(
        settings.max_models, settings.quota_models, settings.model_retention_days * 86_400_000
    )


MODEL_CARDS: Final = TableSpec("model_cards", b"M", _open)
