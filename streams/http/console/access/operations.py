"""The journal of changes through the console: a line before and after each operation, one file a
month, synced line by line. An operation that cannot be journaled is refused."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog

from streams.connect.access.refusals import NotAudited, ReadOnly
from streams.core.clock import Clock
from streams.core.errors import DiaError
from streams.core.process.file_modes import private_folder
from streams.http.console.access.authorizer import Principal

log = structlog.get_logger(__name__)


class Operations:
    """Writes ``folder``/operations-YYYY-MM.jsonl, readable by its owner only."""

    def __init__(
        self, folder: Path, clock: Clock, read_only: Callable[[], bool] = lambda: False
    ) -> None:
        """``read_only``: degradation forbids new operations."""
        self._read_only = read_only
        self._folder = folder
        self._clock = clock

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
            await asyncio.to_thread(self._write, said, "begun")
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
            await asyncio.to_thread(self._write, said, outcome)
        except OSError as error:
            # The line before records the start; the replay and shed journals record the outcome.
            log.error("operation_not_journaled", action=said["action"], why=str(error))  # noqa: TRY400 - as above

    def _write(self, said: Mapping[str, Any], outcome: str) -> None:
        now_ms = self._clock.now_ms()
        month = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m")
        private_folder(self._folder)
        path = self._folder / f"operations-{month}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(msgspec.json.encode({"at_ms": now_ms, **said, "outcome": outcome}) + b"\n")
            file.flush()
            os.fsync(file.fileno())
