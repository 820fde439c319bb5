"""A difference between two sources, and its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

SHOWN_MAX = 10
"""Listed findings of one kind in one place; the rest are counted."""


@dataclass(frozen=True, slots=True)
class FindingPlace:
    """``offsets``: source offsets, both ends included. ``window``: "tenant model metric start"."""

    topic: str
    partition: int | None = None
    offsets: str = ""
    window: str = ""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """``expected`` is the value of the first source that ``check`` names, ``found`` of the
    second."""

    check: str
    place: FindingPlace
    expected: str
    found: str
    meaning: str

    def fields(self) -> dict[str, object]:
        said = {"expected": self.expected, "found": self.found, "meaning": self.meaning}
        return {"check": self.check, **asdict(self.place), **said}


def span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def shortened(findings: Iterable[AuditFinding]) -> list[AuditFinding]:
    every = list(findings)
    if len(every) <= SHOWN_MAX:
        return every
    next_one = every[SHOWN_MAX]
    rest = f"and {len(every) - SHOWN_MAX} more"
    place = replace(next_one.place, offsets="", window="")
    return [*every[:SHOWN_MAX], AuditFinding(next_one.check, place, "", "", rest)]
