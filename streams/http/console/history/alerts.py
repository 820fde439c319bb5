"""What the health rule finds wrong now, since when, and where the way out is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from streams.engine.health.finding import HealthFinding, Severity

GONE_S: Final = 60.0
"""A finding that comes back within it has lasted: while Kafka does not answer, others hide it."""
_OF_CODE: Final[Mapping[str, str]] = {
    "group_dead": "DiaWorkersAbsent",
    "degraded": "DiaDegraded",
    "letters_over_quota": "DiaLettersOverQuota",
    "partition_paused": "DiaPartitionsPaused",
    "partition_stalled": "DiaCommitsStall",
    "partition_stopped": "DiaPartitionStopped",
    "partition_unowned": "DiaPartitionUnowned",
    "tenant_quarantined": "DiaTenantQuarantined",
    "windows_held": "DiaWindowsHeld",
    "worker_silent": "DiaHeartbeatStale",
}


class StandingAlerts:
    """The findings of the newest observation of one process; a restarted console begins anew."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}
        """when each began, in milliseconds since the epoch, and the monotonic time when it stood last"""
        self._now: list[dict[str, Any]] = []

    def take(self, now_ms: int, now_s: float, findings: Iterable[HealthFinding]) -> None:
        """``now_s``: monotonic."""
        kept = {
            about: (since_ms, last_s)
            for about, (since_ms, last_s) in self._seen.items()
            if now_s - last_s <= GONE_S
        }
        found = list(findings)
        for one in found:
            since_ms, _ = kept.get((one.code, one.subject), (now_ms, now_s))
            kept[one.code, one.subject] = since_ms, now_s
        self._seen = kept
        self._now = [
            {
                **one.public_fields(),
                "since_ms": kept[one.code, one.subject][0],
                "runbook": runbook(one),
            }
            for one in found
        ]

    def standing(self) -> list[dict[str, Any]]:
        """The worst first, as the rule orders them; fields of `HealthFinding.public_fields`, ``since_ms``
        and ``runbook``."""
        return self._now


def runbook(finding: HealthFinding) -> str:
    """A page of ops/runbooks, without its ending."""
    general = "DiaHealthUnknown" if finding.severity is Severity.UNKNOWN else "DiaHealthRed"
    return _OF_CODE.get(finding.code, general)
