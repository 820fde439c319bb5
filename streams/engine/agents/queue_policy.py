"""Concurrency, rate and retries of a queue of jobs."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streams.core.settings.job_retries import JobRetry

HIGH_PRIORITY = 5
"""the lowest high priority"""


class QueuePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How the jobs of one queue wait, run and are retried in one worker process.

    Only transient errors are retried. ``backoff_s`` is the first pause; an exponential one doubles
    up to ``backoff_max_s``.
    """

    concurrency: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """runs at once; None: all slots of the pool"""
    rate_per_s: Annotated[float, Meta(gt=0)] | None = None
    """starts a second, averaged; None: no limit"""
    priority: Annotated[int, Meta(ge=0, le=9)] | None = None
    """overrides the priority of requests"""
    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    backoff: Literal["exponential", "fixed"] = "exponential"
    backoff_s: Annotated[float, Meta(gt=0, le=60)] = 1.0
    backoff_max_s: Annotated[float, Meta(gt=0, le=600)] = 8.0
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """limit of one run"""

    def pause_s(self, failures: int) -> float:
        if self.backoff == "fixed":
            return self.backoff_s
        return min(self.backoff_max_s, self.backoff_s * 2.0 ** (failures - 1))

    def with_retry(self, retry: JobRetry | None) -> QueuePolicy:
        """With an operator's attempts and pauses for a class of errors."""
        if retry is None:
            return self
        return msgspec.structs.replace(
            self,
            attempts=retry.attempts,
            backoff="exponential",
            backoff_s=retry.pause_s,
            backoff_max_s=max(retry.pause_s, self.backoff_max_s),
        )
