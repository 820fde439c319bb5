"""One thing that is not as it should be, how bad it is, and the next command."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Severity(IntEnum):
    """Worst last: the verdict is the maximum of the findings, `HEALTHY` where there is none."""

    HEALTHY = 0
    WARNING = 1
    UNKNOWN = 2
    RED = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class HealthFinding(msgspec.Struct, frozen=True, kw_only=True):
    """``code`` is stable and of few values, because it is a metric label. ``subject`` is what it is
    about: a topic, a group, a worker. ``mend`` is the next command, "" where waiting is enough."""

    code: str
    severity: Severity
    subject: str
    detail: str
    mend: str = ""
    reason: str = ""
    """An error's own sentence. It may name addresses, which are not for browsers."""

    def fields(self) -> dict[str, str]:
        """As data, the severity as a word."""
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
