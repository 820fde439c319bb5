"""What a partition knows of its models: one card each, with bounds that keep it one entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from schemas.model_card import Best, ModelCard, ModelVersion
from tables.shares import Shares
from tables.table import Entry

MAX_VERSIONS = 100
MAX_ALIASES = 50
MAX_METRICS = 100
MAX_METRIC_CHARS = 128
"""A card within these stays below half of `MAX_ENTRY_BYTES`, whatever its names are."""

_OVERHEAD = 6
"""Bytes of memory for each encoded byte, about: names and numbers become objects."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ModelCard).decode


class ModelCards:
    """The `Table` of model cards (protocol: tables/table.py)."""

    def __init__(self, max_models: int, quota: int = 0) -> None:
        self._shares = Shares(max_models, quota)
        self._cards: dict[bytes, ModelCard] = {}
        self._sizes: dict[bytes, int] = {}
        self._dirty: dict[bytes, None] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._cards)

    @property
    def bytes_used(self) -> int:
        return self._bytes * _OVERHEAD

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
        """How many models not heard of before the tenant may bring (tables/shares.py), where
        ``others`` are about to be brought by others."""
        return self._shares.room(tenant_id, others)

    def open(self, tenant_id: str, model_id: str) -> ModelCard:
        """The card to change, an empty one for a model not heard of before."""
        key = _key(tenant_id, model_id)
        self._dirty[key] = None
        card = self._cards.get(key)
        if card is None:
            self._shares.take(tenant_id)
            card = self._cards[key] = ModelCard(tenant_id=tenant_id, model_id=model_id)
        return card

    def _version(self, card: ModelCard, version: str, at_ms: int) -> ModelVersion:
        known = card.versions.setdefault(version, ModelVersion())
        known.heard_ms = max(known.heard_ms, at_ms)
        if len(card.versions) > MAX_VERSIONS:
            named = set(card.aliases.values())
            # Nobody asks for an old version without name or stage; its runs are in ClickHouse.
            del card.versions[
                min(
                    (other for other in card.versions if other != version),
                    key=lambda other: (
                        other in named,
                        card.versions[other].stage is not None,
                        card.versions[other].heard_ms,
                        other,
                    ),
                )
            ]
        return known

    # --- Table -------------------------------------------------------------------------------

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in items:
            card = self._cards[key] = _decode(value)
            self._shares.take(card.tenant_id)
            self._resize(key, len(value))

    def delta(self, seq: int) -> list[Entry]:
        entries: list[Entry] = []
        for key in self._dirty:
            value = _encode(self._cards[key])
            self._resize(key, len(value))
            entries.append((key, value))
        self._dirty = {}
        return entries

    def rewrite(self, key: bytes, value: bytes) -> None:
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
