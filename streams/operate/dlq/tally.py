"""Counts dead letters by common fields in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from streams.operate.dlq.dead_letter import DeadLetterRecord

GROUPS_MAX: Final = 10_000
"""Groups of one tally. Tenants come from keys, which a hostile producer chooses."""

OTHERS: Final = "(others)"

HOURS: Final = 24
TENANTS_MAX: Final = 100_000
"""names of tenants that one tally keeps, over all groups"""

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
    "path": lambda letter, _: letter.path,
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
    course: GroupCourse | None = None


class GroupCourse(NamedTuple):
    """``hours``: letters of each of the last `HOURS`, oldest first; ``tenants``: how many are
    affected, at least this many if ``tenants_more``; ``sample``: place of the newest letter."""

    hours: list[int]
    tenants: int
    tenants_more: bool
    sample: str


@dataclass(slots=True)
class _Count:
    letters: int
    oldest_ms: int
    newest_ms: int
    sample: str = ""
    hours: list[int] = field(default_factory=lambda: [0] * HOURS)
    tenants: set[str] = field(default_factory=set)
    tenants_more: bool = False


class DeadLetterTally:
    """Counts, and the oldest and newest failure, by combination of ``fields``."""

    def __init__(
        self,
        fields: Sequence[str],
        now_ms: int,
        more: Mapping[str, Field] | None = None,
        *,
        courses: bool = False,
    ) -> None:
        """``more``: fields beside `FIELDS`; ``courses``: with a `GroupCourse` each."""
        self._courses = courses
        self._tenants_left = TENANTS_MAX
        known = {**FIELDS, **(more or {})}
        self.fields = tuple(fields)
        self._readers = [known[name] for name in fields]
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
            if self._courses:
                self._follow(count, letter)

    def _follow(self, count: _Count, letter: DeadLetterRecord) -> None:
        at = letter.failed_ms
        ago = max(0, self._now_ms - at) // _HOUR_MS
        if ago < HOURS:
            count.hours[HOURS - 1 - ago] += 1
        if at == count.newest_ms:
            count.sample = f"{letter.dlq}/{letter.offset}"
        if letter.tenant not in count.tenants:
            if self._tenants_left:
                self._tenants_left -= 1
                count.tenants.add(letter.tenant)
            else:
                count.tenants_more = True

    def groups(self) -> list[DeadLetterGroup]:
        """Largest first; equal ones by name."""
        found = [
            DeadLetterGroup(
                *(names, count.letters, count.oldest_ms, count.newest_ms),
                _course(count) if self._courses else None,
            )
            for names, count in self._counts.items()
        ]
        return sorted(found, key=lambda group: (-group.letters, group.names))


def _course(count: _Count) -> GroupCourse:
    return GroupCourse(count.hours, len(count.tenants), count.tenants_more, count.sample)
