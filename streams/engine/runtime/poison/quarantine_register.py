"""Publishes the quarantined tenants of each partition to all hosts.

The word is the committed offset of a group without members (runtime/offsets/offset_words.py) and
joins a commit, so only the partition's owner writes it. It names the longest stays with their ends
by the owner's wall clock, so it expires by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from streams.core.clock import Clock
from streams.core.types import Admin, CommittedOffset, TopicPartition
from streams.engine.runtime.offsets import offset_words
from streams.engine.runtime.poison.quarantine import Quarantine

TENANTS_MAX: Final = 4
"""brokers keep at most 4 KiB of metadata with an offset; a name takes up to 768 bytes"""


class QuarantinedTenant(Struct, frozen=True, kw_only=True):
    """``bad`` of its last ``records`` were bad; the stay ends at ``until_ms``."""

    tenant: str
    until_ms: int
    bad: int
    records: int


class QuarantineWord(Struct, frozen=True, kw_only=True):
    """``more``: number of tenants that are not named."""

    at_ms: int
    tenants: list[QuarantinedTenant]
    more: int = 0


def quarantine_group(group: str) -> str:
    return f"dia-quarantine-{group}"


def word_of(quarantine: Quarantine, clock: Clock) -> QuarantineWord:
    now_s, now_ms = clock.monotonic(), clock.now_ms()
    tenants = [
        QuarantinedTenant(
            tenant=name.decode(errors="replace")[:128],
            until_ms=now_ms + max(0, int((stay.until_s - now_s) * 1000)),
            bad=stay.bad,
            records=stay.records,
        )
        for name, stay in quarantine
    ]
    more = max(0, len(tenants) - TENANTS_MAX)
    return QuarantineWord(at_ms=now_ms, tenants=tenants[:TENANTS_MAX], more=more)


def as_offset(word: QuarantineWord, offset: int) -> CommittedOffset:
    return CommittedOffset(offset, msgspec.json.encode(word).decode())


async def read_quarantines(
    admin: Admin, group: str, partitions: Iterable[TopicPartition], now_ms: int
) -> dict[TopicPartition, QuarantineWord]:
    """The words, without stays that are over at ``now_ms``."""
    words = await offset_words.read(admin, quarantine_group(group), partitions, QuarantineWord)
    standing = {}
    for tp, word in words.items():
        left = [tenant for tenant in word.tenants if tenant.until_ms > now_ms]
        if left:
            standing[tp] = QuarantineWord(at_ms=word.at_ms, tenants=left, more=word.more)
    return standing
