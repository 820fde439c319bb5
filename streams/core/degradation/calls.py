"""Calls to one dependency: durations, failures, and the time since the last answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from streams.core.clock import Clock
from streams.core.degradation.level import FINE, Level, Reading
from streams.core.errors import ShardBusy, TransientError

WINDOW_S = 30.0
FAILURES_MIN = 3
SLOW_MIN = 3
"""A share of few calls proves nothing: a server that has just started answers its first insert
late."""
SLOW_SHARE = 0.05
SILENT_S = 5.0
AWAY_S = 15.0
_CALLS_MAX = 2000


class _Call(NamedTuple):
    ended_at: float
    took_s: float
    failed: bool


class Calls:
    """Of the last `WINDOW_S` seconds. ``name`` is the dependency in messages."""

    def __init__(
        self, name: str, clock: Clock, *, latency_s: float = 1.0, error_share: float = 0.01
    ) -> None:
        self._name = name
        self._clock = clock
        self._latency_s = latency_s
        self._error_share = error_share
        self._calls: deque[_Call] = deque(maxlen=_CALLS_MAX)
        self._unanswered_since: float | None = None
        self._under_way = 0
        self._last_at = clock.monotonic()

    @contextmanager
    def call(self) -> Iterator[None]:
        """A `TransientError` is a failure, and no answer unless it is `ShardBusy`; any other error
        is an answer; a cancelled call does not count."""
        began = self._clock.monotonic()
        first = self._unanswered_since is None
        if first:
            self._unanswered_since = began
        self._under_way += 1
        try:
            yield
        except TransientError as error:
            self._ended(began, failed=True, answered=isinstance(error, ShardBusy))
            raise
        except Exception:
            self._ended(began, failed=False, answered=True)
            raise
        except BaseException:
            if first and self._unanswered_since == began:
                self._unanswered_since = None
            raise
        else:
            self._ended(began, failed=False, answered=True)
        finally:
            self._under_way -= 1

    def quiet_for_s(self) -> float:
        """Since the last call ended; 0 during a call."""
        return 0.0 if self._under_way else self._clock.monotonic() - self._last_at

    def reading(self) -> Reading:
        """Level 2: no answer for `AWAY_S`. Level 1: none for `SILENT_S`, or slow, or failing."""
        now_s = self._clock.monotonic()
        since = self._unanswered_since
        silent_s = now_s - since if since is not None else 0.0
        if silent_s >= AWAY_S:
            return Reading(Level.PARTIAL, f"{self._name} has answered nothing for {AWAY_S:g} s")
        if silent_s >= SILENT_S:
            return Reading(Level.DEGRADED, f"{self._name} has answered nothing for {SILENT_S:g} s")
        while self._calls and self._calls[0].ended_at < now_s - WINDOW_S:
            self._calls.popleft()
        return self._shares()

    def _shares(self) -> Reading:
        count = len(self._calls)
        failed = sum(call.failed for call in self._calls)
        if failed >= FAILURES_MIN and failed > self._error_share * count:
            return Reading(
                Level.DEGRADED,
                f"{failed} of {count} calls of {self._name} failed in {WINDOW_S:g} s",
            )
        slow = sum(call.took_s > self._latency_s for call in self._calls)
        if slow >= SLOW_MIN and slow > SLOW_SHARE * count:
            return Reading(
                Level.DEGRADED,
                f"{slow} of {count} calls of {self._name} took more than {self._latency_s:g} s",
            )
        return FINE

    def _ended(self, began: float, *, failed: bool, answered: bool) -> None:
        now_s = self._last_at = self._clock.monotonic()
        self._calls.append(_Call(now_s, now_s - began, failed))
        if answered:
            self._unanswered_since = None
