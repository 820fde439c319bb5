"""Calls hooks of scenarios in separate threads, so that a hook cannot block the event loop.

Calls wait in a bounded queue and run one by one, in commit order. A hook that has not returned
after `LIMIT_S` is abandoned, and another thread continues, up to `ABANDONED_MAX` of them. Beyond
that, and while the queue is full, hooks are dropped and counted.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any, Final, NamedTuple

import structlog

from streams.core.telemetry.metrics import Metrics
from streams.engine.scenarios.scenario import Hook

LIMIT_S: Final = 5.0
WAITING_MAX: Final = 1000
ABANDONED_MAX: Final = 4

log = structlog.get_logger(__name__)


class _Call(NamedTuple):
    queue: str
    hook: Hook
    result: dict[str, Any]


class HookCalls:
    """For one process; `call` and `close` run in the event loop's thread."""

    def __init__(self, metrics: Metrics, limit_s: float = LIMIT_S) -> None:
        self._metrics = metrics
        self._limit_s = limit_s
        self._waiting: deque[_Call] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._abandoned = 0

    def call(self, queue: str, hook: Hook, result: dict[str, Any]) -> None:
        """Queue a call of ``hook``; ``queue`` names the scenario in the metric."""
        if len(self._waiting) >= WAITING_MAX or self._abandoned >= ABANDONED_MAX:
            self._failed(queue, "dropped", "too many hooks wait or hang")
            return
        self._waiting.append(_Call(queue, hook, result))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="hooks")

    async def close(self) -> None:
        """Let the running call end within its limit; drop the others."""
        for call in self._waiting:
            self._failed(call.queue, "dropped", "the process ends")
        self._waiting.clear()
        if self._runner is not None:
            await asyncio.wait({self._runner}, timeout=self._limit_s + 1)

    async def _run(self) -> None:
        try:
            while self._waiting and self._abandoned < ABANDONED_MAX:
                await self._one(self._waiting.popleft())
        finally:
            self._runner = None

    async def _one(self, call: _Call) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[str] = loop.create_future()

        def run() -> None:
            why = ""
            try:
                call.hook(call.result)
            except Exception as error:  # noqa: BLE001 - the app's code may raise anything
                why = repr(error)[:500]
            try:
                loop.call_soon_threadsafe(_resolve, ended, why)
            except RuntimeError:
                """The loop is closed."""

        # A daemon thread: a hook that hangs must not delay the end of the process.
        threading.Thread(target=run, name=f"hook-{call.queue}", daemon=True).start()
        done, _ = await asyncio.wait({ended}, timeout=self._limit_s)
        if not done:
            self._abandoned += 1
            ended.add_done_callback(self._back)
            self._failed(call.queue, "late", f"it takes longer than {self._limit_s:g} s")
        elif why := ended.result():
            self._failed(call.queue, "raised", why)

    def _back(self, ended: asyncio.Future[str]) -> None:
        self._abandoned -= 1

    def _failed(self, queue: str, why: str, what: str) -> None:
        self._metrics.jobs.hook_failures.labels(queue, why).inc()
        log.warning("hook_failed", queue=queue, why=why, what=what)


def _resolve(ended: asyncio.Future[str], why: str) -> None:
    if not ended.done():
        ended.set_result(why)
