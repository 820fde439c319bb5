"""Counts dead letters by common fields in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from streams.operate.dlq.dead_letter import DeadLetterRecord

GROUPS_MAX: Final = 10_000
"""Groups of one tally. Tenants come from keys, which a hostile producer chooses."""

OTHERS: Final = "(others)"

_HOUR_MS = 3_600_000
_AGES = (
    (_HOUR_MS, "under 1 hour"),
    (24 * _HOUR_MS, "under 1 day"),
    (7 * 24 * _HOUR_MS, "under 7 days"),
    (30 * 24 * _HOUR_MS, "under 30 days"),
)
_OLDER = "30 days and more"

Field: TypeAlias = Callable[[DeadLetterRecord, int], str]
"""(letter, now_ms) -> the group it belongs to"""


def age(failed_ms: int, now_ms: int) -> str:
    for under_ms, name in _AGES:
        if now_ms - failed_ms < under_ms:
            return name
    return _OLDER


FIELDS: Final[dict[str, Field]] = {
    "error": lambda letter, _: letter.error_code,
    "tenant": lambda letter, _: letter.tenant or "unknown",
    "agent": lambda letter, _: letter.agent,
    "age": lambda letter, now_ms: age(letter.failed_ms, now_ms),
    "topic": lambda letter, _: letter.topic or "unknown",
    "stage": lambda letter, _: letter.stage,
    "dialect": lambda letter, _: letter.dialect.name,
    "schema": lambda letter, _: str(letter.schema_version or "unknown"),
}


class DeadLetterGroup(NamedTuple):
    names: tuple[str, ...]
    letters: int
    oldest_ms: int
    newest_ms: int


@dataclass(slots=True)
class _Count:
    letters: int
    oldest_ms: int
    newest_ms: int


class DeadLetterTally:
    """Counts, and the oldest and newest failure, by combination of ``fields``."""

    def __init__(
        self, fields: Sequence[str], now_ms: int, more: Mapping[str, Field] | None = None
    ) -> None:
        """``more``: fields beside `FIELDS`."""
        known = {**FIELDS, **(more or {})}
        self.fields = tuple(fields)
        self._readers = [known[field] for field in fields]
        self._now_ms = now_ms
        self._counts: dict[tuple[str, ...], _Count] = {}
        self._others = (OTHERS,) * len(self.fields)

    def add(self, letters: Iterable[DeadLetterRecord]) -> None:
        counts, readers, now_ms = self._counts, self._readers, self._now_ms
        for letter in letters:
            names = tuple([read(letter, now_ms) for read in readers])
            at = letter.failed_ms
            count = counts.get(names)
            if count is None:
                if len(counts) >= GROUPS_MAX:
                    names = self._others
                count = counts.setdefault(names, _Count(0, at, at))
            count.letters += 1
            if at < count.oldest_ms:
                count.oldest_ms = at
            elif at > count.newest_ms:
                count.newest_ms = at

    def groups(self) -> list[DeadLetterGroup]:
        """Largest first; equal ones by name."""
        found = [
            DeadLetterGroup(names, count.letters, count.oldest_ms, count.newest_ms)
            for names, count in self._counts.items()
        ]
        return sorted(found, key=lambda group: (-group.letters, group.names))
