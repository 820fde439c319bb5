"""A finding of `dia doctor`: a fact, its severity, and the command that fixes it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FindingLevel(Enum):
    """The worst one sets the exit code of the doctor."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """``mend`` is the next command."""

    check: str
    level: FindingLevel
    detail: str
    mend: str = ""
