"""One health problem, its severity, and the next command."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Severity(IntEnum):
    """Ascending; the verdict is the maximum of the findings, `HEALTHY` without one."""

    HEALTHY = 0
    WARNING = 1
    UNKNOWN = 2
    RED = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class HealthFinding(msgspec.Struct, frozen=True, kw_only=True):
    """``code`` is stable and has few values: it is a metric label. ``subject``: a topic, a group, a
    worker. ``mend``: the next command, "" if waiting is enough."""

    code: str
    severity: Severity
    subject: str
    detail: str
    mend: str = ""
    reason: str = ""
    """The message of an error. It may contain addresses, which browsers must not get."""

    def fields(self) -> dict[str, str]:
        found = self.public_fields()
        if self.reason:
            found["detail"] += f": {self.reason}"
        return found

    def public_fields(self) -> dict[str, str]:
        """The same without ``reason``."""
        return {
            "code": self.code,
            "severity": self.severity.word,
            "subject": self.subject,
            "detail": self.detail,
            "next": self.mend,
        }
