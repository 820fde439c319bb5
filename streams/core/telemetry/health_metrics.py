"""Metrics of the health rule (streams/engine/health), from processes that observe the pipeline."""

from __future__ import annotations

from streams.core.telemetry.declaring import Declare


class HealthMetrics:
    """Absent before the first observation."""

    def __init__(self, declare: Declare) -> None:
        self.verdict = declare.gauge(
            "health_verdict",
            "1 for the verdict of the health rule, 0 for the others; dia_health_findings has the reasons.",
            ("verdict",),
        )
        self.findings = declare.gauge(
            "health_findings",
            "1 for each finding of the health rule, as `dia status` shows them.",
            ("code", "severity", "subject"),
        )
        self.observed = declare.gauge(
            "health_observed_timestamp_seconds", "When the pipeline was last observed; 0: never."
        )
        self.lag_records = declare.gauge(
            "group_lag_records",
            "Last stable offset minus committed offset, by the broker; no sample while unknown.",
            ("group", "topic", "partition"),
        )

    def clear(self) -> None:
        self.verdict.clear()
        self.findings.clear()
        self.lag_records.clear()
