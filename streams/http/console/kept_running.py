"""Background work of a console goes on after an error, as it keeps what the console shows up to date."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from streams.core.clock import Clock

AGAIN_S: Final = 5.0

log = structlog.get_logger(__name__)


async def kept_running(name: str, run: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Run until it ends by itself or is cancelled. An error is logged, and it runs again `AGAIN_S` later."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("console_work_failed", work=name, again_in_s=AGAIN_S)
        else:
            return
        await clock.sleep(AGAIN_S)
