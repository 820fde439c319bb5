"""The forecast of the page: `dia capacity predict` in a process of its own, kept for an hour.

So the console never loads statsmodels (300 MB), and a console without the extra `capacity` shows
everything else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec

from streams.core.clock import Clock
from streams.core.settings import Settings
from streams.engine.schedule.ledger_audit import environment, output_of

HOURS: Final = 48
KEPT_S: Final = 3600.0
AGAIN_S: Final = 60.0
"""after a run that gave no forecast"""
TIMEOUT_S: Final = 60.0
_EXPLAINED: Final = (2, 6)
"""exit codes whose message is for the reader: the extra or the history is missing"""

Predict: TypeAlias = Callable[[], Awaitable[tuple[int, bytes, bytes]]]
"""Exit code, stdout and stderr of one run."""


def predicting(settings: Settings) -> Predict:
    dia = [sys.executable, "-m", "streams", "--json", "--quiet"]
    command = [*dia, "capacity", "predict", "--hours", str(HOURS)]
    return lambda: output_of(command, environment(settings))


class ForecastRuns:
    """One run at a time; all who ask meanwhile get its answer."""

    def __init__(self, predict: Predict, clock: Clock) -> None:
        self._predict = predict
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: dict[str, Any] = {}
        self._until_s = 0.0

    async def newest(self) -> dict[str, Any]:
        """``hours`` of the forecast, or why there is none (``unknown``)."""
        async with self._lock:
            if not self._found or self._clock.monotonic() >= self._until_s:
                self._found = await self._run()
                kept_s = AGAIN_S if self._found["unknown"] else KEPT_S
                self._until_s = self._clock.monotonic() + kept_s
            return self._found

    async def _run(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                code, said, complained = await self._predict()
        except TimeoutError:
            return _unknown(f"`dia capacity predict` took longer than {TIMEOUT_S:g} s.")
        try:
            lines = [msgspec.json.decode(line) for line in said.splitlines()] if not code else []
            hours = [{name: one[name] for name in _FIELDS} for one in lines]
        except (msgspec.DecodeError, KeyError, TypeError):
            hours = []
        if not hours:
            return _unknown(_why(code, complained))
        return {"unknown": "", "hours": hours, "made_ms": self._clock.now_ms()}


_FIELDS: Final = ("hour", "events_per_s", "low", "high")


def _unknown(text: str) -> dict[str, Any]:
    return {"unknown": text, "hours": [], "made_ms": None}


def _why(code: int, complained: bytes) -> str:
    """Other messages may name addresses, which are not for every reader."""
    if code not in _EXPLAINED:
        return f"`dia capacity predict` ended with exit code {code}. Run it to see why."
    text = complained.decode(errors="replace").strip().rpartition("\n")[2]
    return text.removeprefix("error: ")[:500]
