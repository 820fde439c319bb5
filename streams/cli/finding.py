"""What `dia doctor` finds: one fact, how bad it is, and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FindingLevel(Enum):
    """How bad; the exit code of the doctor is that of the worst."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """``mend`` is the next command, empty where nothing is to be done."""

    check: str
    level: FindingLevel
    detail: str
    mend: str = ""
