"""Changes through the console in the log of operations. One that cannot be logged is refused."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from streams.connect.access.operations_log import BEGUN, OperationsLog
from streams.connect.access.refusals import NotAudited, ReadOnly
from streams.core.clock import Clock
from streams.core.errors import DiaError
from streams.http.console.access.authorizer import Principal

log = structlog.get_logger(__name__)


class Operations:
    """Writes to the log in ``folder``."""

    def __init__(
        self, folder: Path, clock: Clock, read_only: Callable[[], bool] = lambda: False
    ) -> None:
        """``read_only``: degradation forbids new operations."""
        self._read_only = read_only
        self._log = OperationsLog(folder, clock)

    @asynccontextmanager
    async def noted(
        self, holder: Principal, action: str, subject: Mapping[str, Any], *, begins: bool = True
    ) -> AsyncIterator[None]:
        """Run the operation inside the block. Raises before it `NotAudited`, and `ReadOnly` for one
        that ``begins`` work."""
        if begins and self._read_only():
            raise ReadOnly("the service is degraded and refuses changes: see /overview")
        said = {
            "operation": secrets.token_hex(8),
            "token": holder.token.id,
            "name": holder.token.name,
            "role": holder.token.role,
            "token_tenant": holder.token.tenant,
            "by": "token" if holder.session is None else "session",
            "action": action,
            "subject": dict(subject),
        }
        try:
            await asyncio.to_thread(self._log.write, said, BEGUN)
        except OSError as error:
            log.error("operation_not_journaled", action=action, why=str(error))  # noqa: TRY400 - said, not traced
            raise NotAudited("operations cannot be journaled now, so all are refused") from error
        outcome = "failed"
        try:
            yield
            outcome = "done"
        except DiaError as error:
            outcome = error.code
            raise
        finally:
            await self._ended(said, outcome)

    async def _ended(self, said: Mapping[str, Any], outcome: str) -> None:
        log.info("operation_ended", outcome=outcome, **said)
        try:
            await asyncio.to_thread(self._log.write, said, outcome)
        except OSError as error:
            # The line before records the start; the replay and shed journals record the outcome.
            log.error("operation_not_journaled", action=said["action"], why=str(error))  # noqa: TRY400 - as above
