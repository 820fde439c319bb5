"""Hooks of scenarios, called in a thread of their own: a hook cannot stop the event loop.

Calls wait in a bounded queue and run one after the other, in the order of their commits. A hook
that has not returned after `LIMIT_S` is counted and left behind: its thread cannot be stopped, so
another thread takes the next calls, up to `ABANDONED_MAX` of them. After that, and while the queue
is full, hooks are not called, and counted. A hook is called at most once in any case: it must not
be what another system depends on.
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
    """Of one process; `call` and `close` belong to the event loop's thread."""

    def __init__(self, metrics: Metrics, limit_s: float = LIMIT_S) -> None:
        self._metrics = metrics
        self._limit_s = limit_s
        self._waiting: deque[_Call] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._abandoned = 0

    def call(self, queue: str, hook: Hook, result: dict[str, Any]) -> None:
        """Call ``hook`` soon; ``queue`` names the scenario in the metric."""
        if len(self._waiting) >= WAITING_MAX or self._abandoned >= ABANDONED_MAX:
            self._failed(queue, "dropped", "too many hooks wait or hang")
            return
        self._waiting.append(_Call(queue, hook, result))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="hooks")

    async def close(self) -> None:
        """Let the call under way end within its limit; the others are dropped."""
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
            except Exception as error:  # noqa: BLE001 - code of the app may raise anything
                why = repr(error)[:500]
            try:
                loop.call_soon_threadsafe(_resolve, ended, why)
            except RuntimeError:
                """The loop is closed: nothing waits for the answer."""

        # A daemon: one that hangs must not keep the process from its end.
        threading.Thread(target=run, name=f"hook-{call.queue}", daemon=True).start()
        done, _ = await asyncio.wait({ended}, timeout=self._limit_s)
        if not done:
            self._abandoned += 1
            ended.add_done_callback(self._back)
            self._failed(call.queue, "late", f"it takes longer than {self._limit_s:g} s")
        elif why := ended.result():
            self._failed(call.queue, "raised", why)

    def _back(self, ended: asyncio.Future[str]) -> None:
        """A hook that was left behind has returned after all."""
        self._abandoned -= 1

    def _failed(self, queue: str, why: str, what: str) -> None:
        self._metrics.jobs.hook_failures.labels(queue, why).inc()
        log.warning("hook_failed", queue=queue, why=why, what=what)


def _resolve(ended: asyncio.Future[str], why: str) -> None:
    if not ended.done():
        ended.set_result(why)
