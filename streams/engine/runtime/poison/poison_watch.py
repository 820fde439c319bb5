"""Counts the bad records of one partition by tenant, for the breaker (after each batch) and the
quarantine (at each dead letter). Without bad records nothing is done per record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from streams.core.clock import Clock
from streams.core.settings import Settings
from streams.core.topics.topic import MAX_RECORD_BYTES, Topic, tenant_of
from streams.core.types import CommittedOffset, RecordBatch, TopicPartition
from streams.engine.runtime.poison.key_counts import KeyCounts
from streams.engine.runtime.poison.letter_quota import LetterQuota
from streams.engine.runtime.poison.letter_rate import LetterRate
from streams.engine.runtime.poison.poison import (
    NOT_COUNTED,
    UNKNOWN_TENANT,
    PoisonBreaker,
    PoisonLimits,
)
from streams.engine.runtime.poison.quarantine import Quarantine
from streams.engine.runtime.poison.quarantine_register import as_offset, word_of

_KEY_MAX_BYTES = 512
_NAMES_SHOWN = 80

log = structlog.get_logger(__name__)


class _Whose(msgspec.Struct):
    tenant_id: str | int


_decode_whose = msgspec.json.Decoder(_Whose).decode


class PoisonWatch:
    def __init__(
        self,
        tp: TopicPartition,
        source: Topic,
        settings: Settings,
        clock: Clock,
        pass_until: int,
    ) -> None:
        limits = PoisonLimits(
            settings.poison_window_s,
            settings.poison_min_records,
            settings.poison_max_ratio,
            settings.poison_min_tenants,
        )
        self._tp = tp
        self._by_key = source.key_is_tenant
        self._named = source.tenant_field is not None
        self._clock = clock
        self._breaker = PoisonBreaker(tp, limits, pass_until)
        self.quarantine = Quarantine(settings.quarantine_s)
        self._letters = LetterRate(settings.quarantine_letters_per_s)
        self._quota = LetterQuota(tp, settings.quota_letters)
        self._bad: Counter[bytes] = Counter()
        self._keys = KeyCounts()

    def tenant_of(self, key: bytes | None, value: bytes | None) -> bytes:
        """The tenant that the record names; `UNKNOWN_TENANT` if unreadable."""
        if self._by_key:
            return key if key is not None and len(key) <= _KEY_MAX_BYTES else UNKNOWN_TENANT
        if not self._named or value is None or len(value) > MAX_RECORD_BYTES:
            return UNKNOWN_TENANT
        try:
            return str(_decode_whose(value).tenant_id).encode()[:_KEY_MAX_BYTES]
        except (ValueError, RecursionError):
            return UNKNOWN_TENANT

    def note(self, key: bytes | None, value: bytes | None, code: str) -> None:
        if code not in NOT_COUNTED:
            self._bad[self.tenant_of(key, value)] += 1

    def compact(self, key: bytes | None, value: bytes | None, code: str) -> bool:
        """Whether the dead letter of this record is a pointer (T3, L2)."""
        bounded = code in NOT_COUNTED
        if not (bounded or self._quota or self.quarantine):
            return False
        tenant, now_s = self.tenant_of(key, value), self._clock.monotonic()
        if (bounded or tenant in self.quarantine) and not self._letters.take(tenant, now_s):
            return True
        return bool(self._quota) and not self._quota.take(tenant, now_s)

    def folded(self, batch: RecordBatch, events: Iterable[Any]) -> None:
        """Observe a folded batch with its good ``events``. Raises `PoisonStorm`."""
        bad, self._bad = self._bad, Counter()
        now_s = self._clock.monotonic()
        if self.quarantine:
            self.quarantine.pass_time(now_s)
        for tenant in self._breaker.observe(
            now_s, len(batch), bad, lambda: self._of_tenants(batch, events, bad), batch.start
        ):
            if tenant not in bad:
                continue
            shares = self._breaker.shares(tenant)
            if self.quarantine.hold(tenant, now_s, *shares):
                log.warning(
                    "tenant_quarantined",
                    tp=str(self._tp),
                    tenant=tenant.decode(errors="replace")[:_NAMES_SHOWN],
                    bad=shares[0],
                    records=shares[1],
                )

    def quarantined(self) -> int:
        self.quarantine.pass_time(self._clock.monotonic())
        return len(self.quarantine)

    def over_quota(self) -> Sequence[str]:
        """Tenants over their quota of letters, the newest first."""
        return self._quota.over(self._clock.monotonic())

    def take_word(self, next_offset: int) -> CommittedOffset | None:
        """The quarantine's word for a commit up to ``next_offset``; None if unchanged."""
        if not self.quarantine.changed:
            return None
        word = word_of(self.quarantine, self._clock)
        self.quarantine.told()
        return as_offset(word, next_offset)

    def _of_tenants(
        self, batch: RecordBatch, events: Iterable[Any], bad: Counter[bytes]
    ) -> Mapping[bytes, int]:
        if self._by_key:
            return self._keys.of(batch)
        found = +bad
        for name, count in Counter(map(tenant_of, events)).items():
            found[name.encode(errors="replace")[:_KEY_MAX_BYTES]] += count
        return found
