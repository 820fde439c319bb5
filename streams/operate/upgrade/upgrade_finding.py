"""What stands between this version and what runs: a finding of `dia upgrade check`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class UpgradeState(Enum):
    """From the best to the worst; the worst one sets the exit code."""

    READY = "ready"
    TO_DO = "to do"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class UpgradeFinding:
    """``mend`` is the next command."""

    check: str
    state: UpgradeState
    detail: str
    mend: str = ""
